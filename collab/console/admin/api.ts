/** The token, as long as this page lives. It is sent in a header, and stands nowhere else. */
let token = ''
let refused: (reason: string) => void = () => {}

const ROOT = location.pathname.replace(/\/console\/?$/, '') + '/api/v1'

/** What the server says is wrong (RFC 9457). */
export class Problem extends Error {
  constructor (readonly status: number, detail: string) {
    super(detail)
  }
}

export function signInWith (value: string): void { token = value }

export function onRefused (call: (reason: string) => void): void { refused = call }

/** The path of a room; the name is one segment. */
export const ofRoom = (name: string): string => `/rooms/${encodeURIComponent(name)}`

/** A browser takes these out of a path, encoded or not. */
export const askable = (name: string): boolean => name !== '.' && name !== '..'

interface Asked { method?: string, body?: unknown, signal?: AbortSignal, key?: string }

async function ask (path: string, query: Record<string, string | number | undefined>, asked: Asked): Promise<Response> {
  const search = new URLSearchParams()
  for (const [key, value] of Object.entries(query)) if (value !== undefined && value !== '') search.set(key, String(value))
  const headers: Record<string, string> = { authorization: `Bearer ${token}` }
  if (asked.body !== undefined) headers['content-type'] = 'application/json'
  if (asked.key !== undefined) headers['idempotency-key'] = asked.key
  const response = await fetch(`${ROOT}${path}${search.size > 0 ? `?${search}` : ''}`, {
    method: asked.method ?? 'GET',
    headers,
    body: asked.body === undefined ? null : JSON.stringify(asked.body),
    signal: asked.signal ?? null,
    cache: 'no-store',
    credentials: 'omit',
    referrerPolicy: 'no-referrer'
  })
  if (response.ok) return response
  let detail = `the server answered ${response.status}`
  try {
    detail = (await response.json()).detail ?? detail
  } catch {
    // something in between answered, not the server
  }
  if (response.status === 401) refused(detail)
  throw new Problem(response.status, detail)
}

export async function get<T> (path: string, query: Record<string, string | number | undefined> = {}, signal?: AbortSignal): Promise<T> {
  return await (await ask(path, query, { signal })).json() as T
}

export async function send<T> (method: string, path: string, body?: unknown, query: Record<string, string> = {}, key?: string): Promise<T | null> {
  const response = await ask(path, query, { method, body, key })
  return response.status === 204 ? null : await response.json() as T
}

/** Something to say with a request that must not be done twice. (`randomUUID` is there over HTTPS alone.) */
export const once = (): string => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')

/** Whether it is only that the view was left. */
export const left = (error: unknown): boolean => error instanceof DOMException && error.name === 'AbortError'
