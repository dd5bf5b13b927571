// The node's functions that this Aspect uses. Arguments and results are pointers to typed values (bytes.ts).

@external("runtime-api", "__RuntimeContextApi__.get")
export declare function contextGet(key: usize): usize;
@external("aspect-state-api", "__AspectStateApi__.get")
export declare function stateGet(key: usize): usize;
@external("aspect-state-api", "__AspectStateApi__.set")
export declare function stateSet(key: usize, value: usize): void;
@external("aspect-property-api", "__AspectPropertyApi__.get")
export declare function propertyGet(key: usize): usize;
@external("aspect-transient-storage-api", "__AspectTransientStorageApi__.set")
export declare function transientSet(key: usize, value: usize): void;
@external("statedb-api", "__StateDbApi__.getState")
export declare function storageGet(address: usize, key: usize): usize;
@external("util-api", "__UtilApi__.revert")
export declare function revert(message: usize): void;
