// Where conversations are kept: the browser's own database. Other pages of the same site are told of changes.

const NAME = "tcrt";
const STORE = "conversations";

let opening;

function open() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

async function run(mode, work) {
  const database = await open();
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(STORE, mode);
    const request = work(transaction.objectStore(STORE));
    // By itself it would end only once this page has seen the request succeed, which one that is being left never does.
    transaction.commit?.();
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = () => reject(transaction.error);
    transaction.onabort = () => reject(transaction.error);
  });
}

const channel = new BroadcastChannel(NAME);

export function all() {
  return run("readonly", (store) => store.getAll());
}

export async function put(conversation) {
  await run("readwrite", (store) => store.put(structuredClone(conversation)));
  channel.postMessage({ changed: conversation.id });
}

export async function remove(id) {
  await run("readwrite", (store) => store.delete(id));
  channel.postMessage({ changed: id });
}

export function get(id) {
  return run("readonly", (store) => store.get(id));
}

/** Calls `listener` with the id of a conversation that another page has changed or removed. */
export function onChange(listener) {
  channel.addEventListener("message", ({ data }) => listener(data.changed));
}

/** Small things that are kept as they are set: `preference("theme")`, `preference("theme", "dark")`; null forgets. */
export function preference(name, value) {
  const key = `${NAME}.${name}`;
  if (value === null) localStorage.removeItem(key);
  else if (value !== undefined) localStorage.setItem(key, JSON.stringify(value));
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}
