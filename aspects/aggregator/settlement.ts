// One update of a settlement, as `readUpdates` (index.ts) leaves it: u32 where its header lies | u32 where its next page lies | u32 where its
// pages end | u32 where its contributor's 20 bytes lie | u64 e.

export const RECORD: usize = 24;
export const NEXT: usize = 4;
export const END: usize = 8;
export const CONTRIBUTOR: usize = 12;
export const EFFECTIVE: usize = 16;
