// Big-endian numbers in byte strings, and the node's value header: u16 type, i32 length (little-endian), then the bytes.

export const HEADER: usize = 6;
export const TYPE_BOOL: u16 = 9;
export const TYPE_STRING: u16 = 10;
export const TYPE_BYTES: u16 = 11;

@inline
export function be16(at: usize): u32 {
  return <u32>bswap<u16>(load<u16>(at));
}

@inline
export function be32(at: usize): u32 {
  return bswap<u32>(load<u32>(at));
}

@inline
export function be64(at: usize): u64 {
  return bswap<u64>(load<u64>(at));
}

@inline
export function putBe32(at: usize, value: u32): void {
  store<u32>(at, bswap<u32>(value));
}

@inline
export function putBe64(at: usize, value: u64): void {
  store<u64>(at, bswap<u64>(value));
}

/** Writes a value header at `at`; the body follows at at + HEADER. */
@inline
export function putHeader(at: usize, type: u16, length: u32): void {
  store<u16>(at, type);
  store<u32>(at, length, 2);
}

/** Length of the body of a typed value. */
@inline
export function lengthOf(value: usize): u32 {
  return load<u32>(value, 2);
}

@inline
export function same20(a: usize, b: usize): bool {
  return load<u64>(a) == load<u64>(b) && load<u64>(a, 8) == load<u64>(b, 8) && load<u32>(a, 16) == load<u32>(b, 16);
}

@inline
export function copy20(to: usize, from: usize): void {
  store<u64>(to, load<u64>(from));
  store<u64>(to, load<u64>(from, 8), 8);
  store<u32>(to, load<u32>(from, 16), 16);
}

@inline
export function copy32(to: usize, from: usize): void {
  store<u64>(to, load<u64>(from));
  store<u64>(to, load<u64>(from, 8), 8);
  store<u64>(to, load<u64>(from, 16), 16);
  store<u64>(to, load<u64>(from, 24), 24);
}

/** Copies `length` bytes, eight at a time; writes up to 7 bytes more than asked. */
export function copyOver(to: usize, from: usize, length: usize): void {
  const end = to + length;
  while (to < end) {
    store<u64>(to, load<u64>(from));
    to += 8;
    from += 8;
  }
}
