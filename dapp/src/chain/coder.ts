// The contract ABI, as far as this page needs it, and canonical to the byte: the Aspect takes no other calldata.

import { bytesOf, hexOf } from "../domain/bytes";

export type Type = "uint" | "address" | "bytes32" | "bytes" | "bytes[]" | "string";
type Hex = `0x${string}`;

const word = (value: bigint): string => value.toString(16).padStart(64, "0");

/** Arguments of these types: heads, then tails in their order. bytes as 0x hex, bytes32 and addresses likewise, numbers as bigint. */
export function encode(types: readonly Type[], values: readonly unknown[]): string {
  const tails: string[] = [];
  let offset = 32 * types.length;
  const heads = types.map((type, i) => {
    const value = values[i];
    if (type === "uint") return word(value as bigint);
    if (type === "address") return (value as string).slice(2).toLowerCase().padStart(64, "0");
    if (type === "bytes32") return (value as string).slice(2);
    const tail = type === "bytes[]" ? word(BigInt((value as string[]).length)) + encode((value as string[]).map(() => "bytes"), value as string[]) : run(value as string);
    const head = word(BigInt(offset));
    offset += tail.length / 2;
    tails.push(tail);
    return head;
  });
  return heads.join("") + tails.join("");
}

function run(hex: string): string {
  const digits = hex.slice(2);
  return word(BigInt(digits.length / 2)) + digits.padEnd(Math.ceil(digits.length / 64) * 64, "0");
}

/** The value at a place of the data, without its 0x: bigint, 0x address, 0x bytes or text. */
export function decode(type: Type, data: string, place: number): unknown {
  const head = data.slice(64 * place, 64 * place + 64);
  if (type === "uint") return BigInt(`0x${head || "0"}`);
  if (type === "address") return `0x${head.slice(24)}`;
  if (type === "bytes32") return `0x${head}`;
  const at = 2 * Number(BigInt(`0x${head}`));
  const length = Number(BigInt(`0x${data.slice(at, at + 64)}`));
  const bytes = data.slice(at + 64, at + 64 + 2 * length);
  return type === "string" ? new TextDecoder().decode(bytesOf(bytes)) : (hexOf(bytesOf(bytes)) as Hex);
}
