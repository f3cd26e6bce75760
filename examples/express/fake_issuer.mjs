// An issuer in memory, for tests: it signs tokens and lists, answers the feed, and its clock is moved by hand.

import { deflateSync } from 'node:zlib'
import { createLocalJWKSet, exportJWK, generateKeyPair, SignJWT } from 'jose'
import { LIST_BYTES, Status } from './countersign_status.mjs'

export const ISSUER = 'https://id.example.com'
export const AUDIENCE = 'https://orders.example.com'
export const LIST = `${ISSUER}/status/0`
const { privateKey, publicKey } = await generateKeyPair('RS256')
const jwk = { ...(await exportJWK(publicKey)), kid: 'key', alg: 'RS256', use: 'sig' }

export const lst = (bytes) => deflateSync(Buffer.alloc(bytes)).toString('base64url')
const withoutNull = (claims) => Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== null))

export class FakeIssuer {
  moved = 0
  bits = Buffer.alloc(LIST_BYTES)
  seq = 5
  changed = {} // what is otherwise in the next list
  events = []
  unchanged = 0
  since = ''
  authorization = ''
  away = false

  now = () => Math.floor(Date.now() / 1000) + this.moved

  status() {
    const feed = { client: 'orders', secret: 'a b:' }
    return new Status({ issuer: ISSUER, feed, keys: createLocalJWKSet({ keys: [jwk] }), now: this.now, fetch: this.fetch })
  }

  sign(claims, { typ, kid = 'key', alg = 'RS256' }) {
    const key = alg === 'RS256' ? privateKey : Buffer.alloc(32)
    return new SignJWT(withoutNull(claims)).setProtectedHeader({ alg, typ, kid }).sign(key)
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

  fetch = async (url, headers) => {
    if (this.away) throw new Error('away')
    if (url === `${ISSUER}/status`) return { body: JSON.stringify({ status_lists: [LIST] }), etag: null }
    if (url === LIST) {
      const etag = `"${this.seq}"`
      if (headers['if-none-match'] !== etag) return { body: await this.listToken(), etag }
      this.unchanged += 1
      return undefined
    }
    this.since = new URL(url).searchParams.get('since')
    this.authorization = headers.authorization
    return { body: JSON.stringify({ events: this.events }), etag: null }
  }
}
