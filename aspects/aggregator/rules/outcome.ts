// What moving a page gives, whatever the rule: bit 63 whether a weight changed, below it how many hit a bound of int16.

export const CHANGED: u64 = 1 << 63;
