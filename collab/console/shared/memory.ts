/** What the browser remembers for us; nothing, where it must not. */
export function stored<T> (key: string): T | null {
  try {
    return JSON.parse(localStorage.getItem(key) ?? 'null') as T | null
  } catch {
    return null
  }
}

export function store (key: string, value: unknown): void {
  try {
    localStorage.setItem(key, JSON.stringify(value))
  } catch {
    // private windows and full disks: it is forgotten, and nothing else
  }
}
