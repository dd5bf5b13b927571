// What stays in this browser: drawings by task, the update that is on its way, what rounding left over. Never sent anywhere.

import type { Stroke } from "./bitmap";

export interface Sample {
  id: string;
  label: number;
  /** (inputs,), unscaled. */
  values: Float32Array;
  strokes?: Stroke[];
}
/** What quantising left over of the last merged update; an update on its way becomes that only when it is merged. Its block is 0 until it
 * is in one. */
export interface Carried {
  residual: Float64Array | null;
  held: { round: string; digest: string; transaction: string; block: number; bytes: number; gas: number; residual: Float64Array } | null;
}

const NAME = "linklearner";
let opened: Promise<IDBDatabase | null> | undefined;

function database(): Promise<IDBDatabase | null> {
  return (opened ??= new Promise((resolve) => {
    try {
      const request = indexedDB.open(NAME, 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore("samples");
        request.result.createObjectStore("carried");
      };
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => resolve(null);
    } catch {
      resolve(null); // a browser that keeps nothing: everything works until the page is closed
    }
  }));
}

async function get<T>(store: string, key: string): Promise<T | undefined> {
  const db = await database();
  if (!db) return undefined;
  return new Promise((resolve) => {
    const request = db.transaction(store).objectStore(store).get(key);
    request.onsuccess = () => resolve(request.result as T);
    request.onerror = () => resolve(undefined);
  });
}

/** Whether it is kept: false where the browser has no room, or keeps nothing. */
async function put(store: string, key: string, value: unknown): Promise<boolean> {
  const db = await database();
  if (!db) return false;
  return new Promise((resolve) => {
    try {
      const transaction = db.transaction(store, "readwrite");
      transaction.objectStore(store).put(value, key);
      transaction.oncomplete = () => resolve(true);
      transaction.onerror = transaction.onabort = () => resolve(false);
    } catch {
      resolve(false);
    }
  });
}

export const samples = {
  read: async (key: string): Promise<Sample[]> => (await get<Sample[]>("samples", key)) ?? [],
  write: (key: string, value: Sample[]): Promise<boolean> => put("samples", key, value),
};
export const carried = {
  read: async (key: string): Promise<Carried> => (await get<Carried>("carried", key)) ?? { residual: null, held: null },
  write: (key: string, value: Carried): Promise<boolean> => put("carried", key, value),
};

/** Runs `work` unless another tab is at it. Without locks (a page over plain http in a local network) there is only this tab to mind. */
export async function alone<T>(name: string, work: () => Promise<T>): Promise<T | "elsewhere"> {
  if (!navigator.locks) return work();
  return navigator.locks.request(name, { ifAvailable: true }, async (lock) => (lock ? work() : "elsewhere"));
}
