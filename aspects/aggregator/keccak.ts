// keccak-256 (rate 136, padding 0x01 … 0x80), tuned for the node's gas table: a local costs 40 to read and 80 to write, i64 xor/and/or 30,
// a rotation 40, a call of the host's keccak 37.5 gas a byte. Here it is about 3 gas a byte.
//
// The state lives in 25 locals, a<x><y>, over all blocks; two rounds a turn of the loop move it to e<x><y> and back, so nothing is copied.
// Lanes 10 20 31 22 23 04 are kept complemented, which leaves 5 of a round's 25 negations (the lane complementing transform of the Keccak
// team's implementation overview): ~b & c = ~(b | ~c), and so on. Theta: c, d. Rho and pi: the five b of an output row. Chi: the row itself.

import { BLOCK } from "./memory";

const RATE: usize = 136;

const CONSTANTS: usize = memory.data<u64>([
  0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000,
  0x000000000000808b, 0x0000000080000001, 0x8000000080008081, 0x8000000000008009,
  0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
  0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003,
  0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a,
  0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
]);

/** keccak-256 of `length` bytes at `source`; 32 bytes to `target`, which may lie in the source. Reads up to 7 bytes beyond the source. */
export function keccak256(source: usize, length: usize, target: usize): void {
  let a00: u64 = 0, a10: u64 = -1, a20: u64 = -1, a30: u64 = 0, a40: u64 = 0;
  let a01: u64 = 0, a11: u64 = 0, a21: u64 = 0, a31: u64 = -1, a41: u64 = 0;
  let a02: u64 = 0, a12: u64 = 0, a22: u64 = -1, a32: u64 = 0, a42: u64 = 0;
  let a03: u64 = 0, a13: u64 = 0, a23: u64 = -1, a33: u64 = 0, a43: u64 = 0;
  let a04: u64 = -1, a14: u64 = 0, a24: u64 = 0, a34: u64 = 0, a44: u64 = 0;
  let e00: u64, e10: u64, e20: u64, e30: u64, e40: u64;
  let e01: u64, e11: u64, e21: u64, e31: u64, e41: u64;
  let e02: u64, e12: u64, e22: u64, e32: u64, e42: u64;
  let e03: u64, e13: u64, e23: u64, e33: u64, e43: u64;
  let e04: u64, e14: u64, e24: u64, e34: u64, e44: u64;
  let b0: u64, b1: u64, b2: u64, b3: u64, b4: u64;
  let n1: u64, n2: u64, n3: u64, n4: u64;
  let c0: u64, c1: u64, c2: u64, c3: u64, c4: u64;
  let d0: u64, d1: u64, d2: u64, d3: u64, d4: u64;
  let last: bool = false;
  do {
    let block = source;
    if (length < RATE) {
      pad(source, length);
      block = BLOCK;
      last = true;
    }
    a00 ^= load<u64>(block);
    a10 ^= load<u64>(block, 8);
    a20 ^= load<u64>(block, 16);
    a30 ^= load<u64>(block, 24);
    a40 ^= load<u64>(block, 32);
    a01 ^= load<u64>(block, 40);
    a11 ^= load<u64>(block, 48);
    a21 ^= load<u64>(block, 56);
    a31 ^= load<u64>(block, 64);
    a41 ^= load<u64>(block, 72);
    a02 ^= load<u64>(block, 80);
    a12 ^= load<u64>(block, 88);
    a22 ^= load<u64>(block, 96);
    a32 ^= load<u64>(block, 104);
    a42 ^= load<u64>(block, 112);
    a03 ^= load<u64>(block, 120);
    a13 ^= load<u64>(block, 128);
    let constants = CONSTANTS;
    const end = CONSTANTS + 192;
    do {
      // an even round: a to e
      c0 = a00 ^ a01 ^ a02 ^ a03 ^ a04; c1 = a10 ^ a11 ^ a12 ^ a13 ^ a14; c2 = a20 ^ a21 ^ a22 ^ a23 ^ a24;
      c3 = a30 ^ a31 ^ a32 ^ a33 ^ a34; c4 = a40 ^ a41 ^ a42 ^ a43 ^ a44; d0 = c4 ^ rotl<u64>(c1, 1);
      d1 = c0 ^ rotl<u64>(c2, 1); d2 = c1 ^ rotl<u64>(c3, 1); d3 = c2 ^ rotl<u64>(c4, 1); d4 = c3 ^ rotl<u64>(c0, 1);
      b0 = a00 ^ d0; b1 = rotl<u64>(a11 ^ d1, 44); b2 = rotl<u64>(a22 ^ d2, 43); b3 = rotl<u64>(a33 ^ d3, 21);
      b4 = rotl<u64>(a44 ^ d4, 14); n2 = ~b2; e00 = b0 ^ (b1 | b2) ^ load<u64>(constants); e10 = b1 ^ (n2 | b3);
      e20 = b2 ^ (b3 & b4); e30 = b3 ^ (b4 | b0); e40 = b4 ^ (b0 & b1);
      b0 = rotl<u64>(a30 ^ d3, 28); b1 = rotl<u64>(a41 ^ d4, 20); b2 = rotl<u64>(a02 ^ d0, 3);
      b3 = rotl<u64>(a13 ^ d1, 45); b4 = rotl<u64>(a24 ^ d2, 61); n4 = ~b4; e01 = b0 ^ (b1 | b2);
      e11 = b1 ^ (b2 & b3); e21 = b2 ^ (b3 | n4); e31 = b3 ^ (b4 | b0); e41 = b4 ^ (b0 & b1);
      b0 = rotl<u64>(a10 ^ d1, 1); b1 = rotl<u64>(a21 ^ d2, 6); b2 = rotl<u64>(a32 ^ d3, 25);
      b3 = rotl<u64>(a43 ^ d4, 8); b4 = rotl<u64>(a04 ^ d0, 18); n3 = ~b3; e02 = b0 ^ (b1 | b2); e12 = b1 ^ (b2 & b3);
      e22 = b2 ^ (n3 & b4); e32 = n3 ^ (b4 | b0); e42 = b4 ^ (b0 & b1);
      b0 = rotl<u64>(a40 ^ d4, 27); b1 = rotl<u64>(a01 ^ d0, 36); b2 = rotl<u64>(a12 ^ d1, 10);
      b3 = rotl<u64>(a23 ^ d2, 15); b4 = rotl<u64>(a34 ^ d3, 56); n3 = ~b3; e03 = b0 ^ (b1 & b2);
      e13 = b1 ^ (b2 | b3); e23 = b2 ^ (n3 | b4); e33 = n3 ^ (b4 & b0); e43 = b4 ^ (b0 | b1);
      b0 = rotl<u64>(a20 ^ d2, 62); b1 = rotl<u64>(a31 ^ d3, 55); b2 = rotl<u64>(a42 ^ d4, 39);
      b3 = rotl<u64>(a03 ^ d0, 41); b4 = rotl<u64>(a14 ^ d1, 2); n1 = ~b1; e04 = b0 ^ (n1 & b2); e14 = n1 ^ (b2 | b3);
      e24 = b2 ^ (b3 & b4); e34 = b3 ^ (b4 | b0); e44 = b4 ^ (b0 & b1);
      // an odd round: e to a
      c0 = e00 ^ e01 ^ e02 ^ e03 ^ e04; c1 = e10 ^ e11 ^ e12 ^ e13 ^ e14; c2 = e20 ^ e21 ^ e22 ^ e23 ^ e24;
      c3 = e30 ^ e31 ^ e32 ^ e33 ^ e34; c4 = e40 ^ e41 ^ e42 ^ e43 ^ e44; d0 = c4 ^ rotl<u64>(c1, 1);
      d1 = c0 ^ rotl<u64>(c2, 1); d2 = c1 ^ rotl<u64>(c3, 1); d3 = c2 ^ rotl<u64>(c4, 1); d4 = c3 ^ rotl<u64>(c0, 1);
      b0 = e00 ^ d0; b1 = rotl<u64>(e11 ^ d1, 44); b2 = rotl<u64>(e22 ^ d2, 43); b3 = rotl<u64>(e33 ^ d3, 21);
      b4 = rotl<u64>(e44 ^ d4, 14); n2 = ~b2; a00 = b0 ^ (b1 | b2) ^ load<u64>(constants, 8); a10 = b1 ^ (n2 | b3);
      a20 = b2 ^ (b3 & b4); a30 = b3 ^ (b4 | b0); a40 = b4 ^ (b0 & b1);
      b0 = rotl<u64>(e30 ^ d3, 28); b1 = rotl<u64>(e41 ^ d4, 20); b2 = rotl<u64>(e02 ^ d0, 3);
      b3 = rotl<u64>(e13 ^ d1, 45); b4 = rotl<u64>(e24 ^ d2, 61); n4 = ~b4; a01 = b0 ^ (b1 | b2);
      a11 = b1 ^ (b2 & b3); a21 = b2 ^ (b3 | n4); a31 = b3 ^ (b4 | b0); a41 = b4 ^ (b0 & b1);
      b0 = rotl<u64>(e10 ^ d1, 1); b1 = rotl<u64>(e21 ^ d2, 6); b2 = rotl<u64>(e32 ^ d3, 25);
      b3 = rotl<u64>(e43 ^ d4, 8); b4 = rotl<u64>(e04 ^ d0, 18); n3 = ~b3; a02 = b0 ^ (b1 | b2); a12 = b1 ^ (b2 & b3);
      a22 = b2 ^ (n3 & b4); a32 = n3 ^ (b4 | b0); a42 = b4 ^ (b0 & b1);
      b0 = rotl<u64>(e40 ^ d4, 27); b1 = rotl<u64>(e01 ^ d0, 36); b2 = rotl<u64>(e12 ^ d1, 10);
      b3 = rotl<u64>(e23 ^ d2, 15); b4 = rotl<u64>(e34 ^ d3, 56); n3 = ~b3; a03 = b0 ^ (b1 & b2);
      a13 = b1 ^ (b2 | b3); a23 = b2 ^ (n3 | b4); a33 = n3 ^ (b4 & b0); a43 = b4 ^ (b0 | b1);
      b0 = rotl<u64>(e20 ^ d2, 62); b1 = rotl<u64>(e31 ^ d3, 55); b2 = rotl<u64>(e42 ^ d4, 39);
      b3 = rotl<u64>(e03 ^ d0, 41); b4 = rotl<u64>(e14 ^ d1, 2); n1 = ~b1; a04 = b0 ^ (n1 & b2); a14 = n1 ^ (b2 | b3);
      a24 = b2 ^ (b3 & b4); a34 = b3 ^ (b4 | b0); a44 = b4 ^ (b0 & b1);
      constants += 16;
    } while (constants < end);
    source += RATE;
    length -= RATE;
  } while (!last);
  store<u64>(target, a00);
  store<u64>(target, ~a10, 8);
  store<u64>(target, ~a20, 16);
  store<u64>(target, a30, 24);
}

/** The last block: fewer than 136 bytes, then 0x01, zeros, and 0x80 in the last byte. */
function pad(source: usize, length: usize): void {
  for (let i: usize = 0; i < RATE; i += 8) store<u64>(BLOCK + i, 0);
  const whole = length & ~7;
  for (let i: usize = 0; i < whole; i += 8) store<u64>(BLOCK + i, load<u64>(source + i));
  const rest: u64 = <u64>(length & 7) << 3;
  store<u64>(BLOCK + whole, (load<u64>(source + whole) & ((<u64>1 << rest) - 1)) | (<u64>1 << rest));
  store<u64>(BLOCK, load<u64>(BLOCK, 128) | 0x8000000000000000, 128);
}
