// An issuer in memory, for tests: it signs tokens and lists, answers the feed, and its clock is moved by hand.

import { deflateSync } from 'node:zlib'
import { CompactSign, createLocalJWKSet, exportJWK, generateKeyPair } from 'jose'
import { LIST_BYTES, Status } from './countersign_status.mjs'

export const ISSUER = 'https://id.example.com'
export const AUDIENCE = 'https://orders.example.com'
export const LIST = `${ISSUER}/status/0`
const { privateKey, publicKey } = await generateKeyPair('RS256')
const jwk = { ...(await exportJWK(publicKey)), kid: 'key', alg: 'RS256', use: 'sig' }

export const INFINITE = '1e999' // as a claim it becomes that number, which JSON.stringify cannot write
export const lst = (bytes) => deflateSync(Buffer.alloc(bytes)).toString('base64url')
const withoutNull = (claims) => Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== null))

export class FakeIssuer {
  moved = 0
  stopped = undefined // the time at which the clock stands still
  bits = Buffer.alloc(LIST_BYTES)
  seq = 5
  changed = {} // what is otherwise in the next list
  events = []
  receipts = []
  unchanged = 0
  since = ''
  wait = ''
  authorization = ''
  refusal = 0 // the HTTP status with which the feed is refused
  away = false

  now = () => this.stopped ?? Math.floor(Date.now() / 1000) + this.moved

  status() {
    const feed = { client: 'orders', secret: 'a b:' }
    const keys = Object.assign(createLocalJWKSet({ keys: [jwk] }), { reload: async () => {} })
    return new Status({ issuer: ISSUER, feed, keys, name: 'shop 1', now: this.now, fetch: this.fetch })
  }

  sign(claims, { typ, kid = 'key', alg = 'RS256' }) {
    const key = alg === 'RS256' ? privateKey : Buffer.alloc(32)
    const text = JSON.stringify(withoutNull(claims)).replace(`"${INFINITE}"`, INFINITE)
    return new CompactSign(Buffer.from(text)).setProtectedHeader({ alg, typ, kid }).sign(key)
  }

  accessToken({ typ = 'at+jwt', idx = 1, ...more } = {}) {
    const now = Math.floor(Date.now() / 1000)
    const claims = { iss: ISSUER, aud: [AUDIENCE], sub: 'ada', client_id: 'web', iat: now, exp: now + 600, jti: '1' }
    const status = { status_list: { idx, uri: LIST } }
    return this.sign({ ...claims, scope: 'read', status, ...more }, { typ })
  }

  listToken() {
    const { typ = 'statuslist+jwt', kid, alg, ...more } = this.changed
    const claims = { iss: ISSUER, sub: LIST, iat: this.now(), exp: this.now() + 360, ttl: 15, seq: this.seq }
    const list = { bits: 1, lst: deflateSync(this.bits).toString('base64url') }
    return this.sign({ ...claims, status_list: list, ...more }, { typ, kid, alg })
  }

  fetch = async (url, headers, _seconds, _most, body) => {
    if (this.away) throw new Error('away')
    if (url === `${ISSUER}/status`) return { body: JSON.stringify({ status_lists: [LIST] }), etag: null }
    if (url === LIST) {
      const etag = `"${this.seq}"`
      if (headers['if-none-match'] !== etag) return { body: await this.listToken(), etag }
      this.unchanged += 1
      return undefined
    }
    this.authorization = headers.authorization
    if (url === `${ISSUER}/status/receipts`) {
      this.receipts.push(JSON.parse(body))
      return { body: '', etag: null }
    }
    if (this.refusal) throw Object.assign(new Error('refused'), { status: this.refusal })
    const query = new URL(url).searchParams
    this.since = query.get('since')
    this.wait = query.get('wait')
    return { body: JSON.stringify({ events: this.events }), etag: null }
  }
}
