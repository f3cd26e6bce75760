// What is over, in memory: Countersign's keys and status lists, kept fresh in the background, for any service on Node.js.
//
//   const status = new Status({ issuer: 'https://id.example.com', feed: { client: 'orders', secret } }).start()
//   status.isOver(header, claims)     // of a token whose signature was verified; asks nobody
//
// Without `feed` a revocation is known as soon as the list is fetched again (15 s), with it within a second. `feed` is a
// client with the scope `status.read`; who follows tells the issuer how far it is, and by `leave()` that it ends. One
// token of a machine that was revoked by itself is in no list: it lives until its `exp`. It needs jose and no framework.
//
// HTTP_PROXY and HTTPS_PROXY are not heeded, unless NODE_USE_ENV_PROXY or --use-env-proxy says so: name the issuer in
// NO_PROXY then.

import { randomBytes, webcrypto } from 'node:crypto'
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { inflateSync } from 'node:zlib'
import { createRemoteJWKSet, errors, jwtVerify } from 'jose'

globalThis.crypto ??= webcrypto // Node.js 18 has it, but not there

const ENTRIES = 2 ** 20 // how many grants a list has room for
export const LIST_BYTES = ENTRIES / 8
const MAX_TOKEN_BYTES = 512 * 1024 // a list that does not compress at all is half as long
const MAX_FEED_BYTES = 16 * 1024 * 1024
const KEYS_EVERY = 240 // seconds
const REFUSED_FOR = [2, 5, 15] // seconds until a feed that was refused is asked for again
const WENT_BACK_AFTER = 60 // seconds: more than the clocks of the issuer's instances differ
const KNOWN_MEMBERS = ['n', 'set', 'clr', 'cut', 'uncut', 'ack']
export const RETRY_AFTER = 15

/** We do not know whether a token is over. Answer 503 with Retry-After: it is not the token's fault, so never 401. */
export class Blind extends Error {}

/** The body and its ETag; none when it is the one that is known. With a `body` it is a POST. */
async function fetchBytes(url, headers, seconds, most, body) {
  const signal = AbortSignal.timeout(seconds * 1000)
  const answer = await fetch(url, { method: body ? 'POST' : 'GET', headers, body, redirect: 'error', signal })
  if (answer.status === 304) return undefined
  if (!answer.ok) throw Object.assign(new Error(`${url} answered ${answer.status}`), { status: answer.status })
  const chunks = []
  let length = 0
  for await (const chunk of answer.body ?? []) {
    length += chunk.length
    if (length > most) throw new Error(`${url} is too long`)
    chunks.push(chunk)
  }
  return { body: Buffer.concat(chunks).toString('utf8'), etag: answer.headers.get('etag') }
}

/** The bits of a list (draft-ietf-oauth-status-list §4.1). A bomb does not go off: one byte too many ends it. */
function inflate(lst) {
  const compressed = Buffer.from(lst, 'base64url')
  const { buffer, engine } = inflateSync(compressed, { maxOutputLength: LIST_BYTES, info: true })
  if (buffer.length !== LIST_BYTES || engine.bytesWritten !== compressed.length) {
    throw new Error(`a list has ${LIST_BYTES} bytes`)
  }
  return buffer
}

export class Status {
  lists = new Map() // by URI: { bits, seq, iat, exp, ttl, etag }
  told = new Map() // bits that the feed set, until they are in a list: { n, at }, by which change and when we heard of it
  killed = new Set() // keys that were compromised
  cuts = new Set() // those that we have heard of
  cursor = undefined // the last change that the feed told us
  keysDue = 0
  listsDue = 0
  feedDue = 0
  refusals = 0 // of the feed, in a row
  loaded = false
  seq = undefined // the last change that is in force here; none while we do not follow
  ack = false // whether the issuer wants a receipt
  receiptWanted = new AbortController()
  receiptEvery = 10 // seconds
  leaving = false

  /** `name` is for operators; 128 bytes at most. */
  constructor({ issuer, feed, keys, name = hostname(), now = () => Date.now() / 1000, fetch = fetchBytes }) {
    const url = new URL(issuer)
    if (url.protocol !== 'https:' && !['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname)) {
      throw new Error('the issuer is not https')
    }
    // The background fetches every 240 s, so no request waits for keys, and they outlive an issuer that is away.
    const options = { cacheMaxAge: Infinity, cooldownDuration: 10_000, timeoutDuration: 2_000 }
    Object.assign(this, { issuer, feed, name, now, fetch })
    const { client = '', secret = '' } = feed ?? {}
    const pair = new URLSearchParams({ [client]: secret }).toString().replace('=', ':') // RFC 6749 §2.3.1
    this.authorization = `Basic ${Buffer.from(pair).toString('base64')}`
    this.remoteKeys = keys ?? createRemoteJWKSet(new URL(`${issuer}/jwks.json`), options)
  }

  // What requests ask.

  /** The key that a token names, for jwtVerify; throws Blind if we cannot say whether there is one. */
  key = async (header, token) => {
    if (typeof header.kid !== 'string' || this.killed.has(header.kid)) throw new errors.JWKSNoMatchingKey()
    try {
      return await this.remoteKeys(header, token)
    } catch (error) {
      const refusals = [errors.JWKSNoMatchingKey, errors.JWKSMultipleMatchingKeys, errors.JOSENotSupported]
      if (refusals.some((refusal) => error instanceof refusal)) throw error
      throw new Blind(error.message, { cause: error })
    }
  }

  /** Whether that is the URI of a list: there is one spelling of each. */
  isList(uri) {
    const start = `${this.issuer}/status/`
    return typeof uri === 'string' && uri.startsWith(start) && /^(0|[1-9]\d{0,3})$/.test(uri.slice(start.length))
  }

  /** Whether a token that was verified is over all the same; throws Blind if that is not known. */
  isOver(header, claims) {
    if (this.killed.has(header.kid)) return true
    // The issuer puts a place into every token.
    const { uri, idx } = claims.status?.status_list ?? {}
    if (!this.isList(uri)) return true
    // draft-ietf-oauth-status-list §8.3: an index outside of the list is refused.
    if (!Number.isInteger(idx) || idx < 0 || idx >= ENTRIES) return true
    if (this.told.has(`${uri} ${idx}`)) return true
    const known = this.lists.get(uri)
    // §8.3: after exp it is not relied on.
    if (!known || known.exp <= this.now()) throw new Blind(`${uri} is not known or too old`)
    return ((known.bits[idx >> 3] >> (idx & 7)) & 1) === 1 // §4.1: the least significant bit first
  }

  // What the background does.

  start() {
    this.run()
    if (this.feed) this.receipts = this.sendReceipts()
    return this
  }

  /** Before the process ends: the issuer need not wait for it any more. */
  async leave() {
    this.leaving = true
    this.receiptWanted.abort()
    await this.receipts
  }

  async run() {
    for (let pause = 0.5; ; ) {
      try {
        await this.step()
        pause = 0.5
      } catch (error) {
        // Whatever it is, we go on with what we have until it is too old.
        console.warn(`what is over cannot be learnt: ${error.name}: ${error.message}`)
        await sleep(pause * 1000 * (0.5 + Math.random() / 2))
        pause = Math.min(pause * 2, 15)
      }
    }
  }

  /** Fetches what is due, then waits for the next change, or until something is due. */
  async step() {
    const now = performance.now() / 1000
    if (now >= this.keysDue) {
      this.keysDue = now + 10 // if it fails
      await this.remoteKeys.reload()
      this.keysDue = now + KEYS_EVERY
    }
    if (now >= this.listsDue) {
      await this.refresh()
      const ttl = Math.min(...[...this.lists.values()].map((known) => known.ttl), 15)
      this.listsDue = now + ttl * (0.8 + Math.random() / 5)
    }
    // With the lists fetched that a change called for, all that the feed told us is in force.
    const begins = this.seq === undefined
    this.seq = this.cursor
    if (this.seq !== undefined && (begins || this.ack)) {
      this.ack = false
      this.receiptWanted.abort()
    }
    const asked = performance.now() / 1000
    const wait = Math.max(1, Math.ceil(Math.min(this.keysDue, this.listsDue) - asked))
    if (!this.feed) return sleep(wait * 1000)
    if (asked < this.feedDue) return sleep(Math.min(wait, this.feedDue - asked) * 1000)
    // No issuer is asked more than five times a second.
    await Promise.all([this.follow(Math.min(wait, 20)), sleep(200)])
  }

  /** Fetches every list that has changed. */
  async refresh() {
    const { body } = await this.fetch(`${this.issuer}/status`, {}, 2, MAX_TOKEN_BYTES)
    for (const uri of JSON.parse(body).status_lists) {
      if (this.isList(uri)) await this.load(uri)
    }
    this.loaded = this.lists.size > 0
  }

  /** Fetches and verifies one list (draft-ietf-oauth-status-list §8.3). */
  async load(uri) {
    const known = this.lists.get(uri)
    const headers = { accept: 'application/statuslist+jwt', ...(known?.etag && { 'if-none-match': known.etag }) }
    const answer = await this.fetch(uri, headers, 2, MAX_TOKEN_BYTES)
    if (!answer) return
    const { payload } = await jwtVerify(answer.body, this.key, {
      algorithms: ['RS256'], // RFC 8725 §3.1
      typ: 'statuslist+jwt', // RFC 8725 §3.11
      issuer: this.issuer,
      subject: uri, // §5.1: where the list was asked for
      clockTolerance: 30,
      requiredClaims: ['iat', 'exp', 'ttl', 'seq', 'status_list'],
    })
    const { seq, exp, ttl, iat, status_list: list } = payload
    if (list.bits !== 1 || !Number.isInteger(seq) || iat > this.now() + 30) throw new Error('no list of ours')
    if (known && seq < known.seq) {
      // Of an instance that is a moment behind, or kept by somebody on the way.
      if (known.exp > this.now() && iat <= known.iat + WENT_BACK_AFTER) return
      this.cursor = undefined // the issuer's database was put back: the feed begins anew, from the lists
    }
    const bits = inflate(list.lst)
    this.lists.set(uri, { bits, seq, iat, exp, ttl: Math.max(1, ttl), etag: answer.etag })
    for (const [place, { n, at }] of this.told) {
      // A change that is still missing long after we heard of it was lost with the issuer's database.
      const isLost = iat > at + WENT_BACK_AFTER
      if (place.startsWith(`${uri} `) && (n <= seq || isLost)) this.told.delete(place)
    }
  }

  /** Asks for the changes since the last that we know of; the answer comes with the next one, or after `wait`. */
  async follow(wait) {
    const seqs = [...this.lists.values()].map((known) => known.seq)
    const since = this.cursor ?? Math.min(...seqs)
    if (this.cursor === undefined) wait = 0 // who begins wants an answer at once
    this.cursor = undefined // after a failure it begins anew, from the lists
    const url = `${this.issuer}/status/events?since=${since}&wait=${wait}`
    try {
      const { body } = await this.fetch(url, { authorization: this.authorization }, wait + 5, MAX_FEED_BYTES)
      this.cursor = since
      this.refusals = 0
      for (const { event, data } of JSON.parse(body).events) this.apply(event, data)
    } catch (error) {
      if (![400, 401, 403].includes(error.status)) throw error
      const after = REFUSED_FOR[Math.min(this.refusals, 2)]
      this.refusals += 1
      this.feedDue = performance.now() / 1000 + after
      console.warn(`HTTP ${error.status}: the feed is refused and asked for again in ${after} s; lists are polled`)
    }
  }

  /** What tightens is in force at once; what loosens waits for the signed list. What is not clear fetches the lists. */
  apply(event, data) {
    if (event === 'hello') {
      this.cut(data.cuts)
      this.cuts = new Set(data.cuts.map((cut) => JSON.stringify(cut))) // every one that is in force
    } else if (event === 'change' && data.n === this.cursor + 1) {
      this.cursor = data.n
      for (const number of data.set ?? []) {
        const place = `${this.issuer}/status/${Math.floor(number / ENTRIES)} ${number % ENTRIES}`
        this.told.set(place, { n: data.n, at: this.now() })
      }
      this.cut(data.cut ?? [])
      this.ack ||= data.ack === true
      // `lists`, or something new
      if (!Object.keys(data).every((member) => KNOWN_MEMBERS.includes(member))) this.listsDue = 0
    } else if (event !== 'beat' && event !== 'ckpt') {
      // a reset, a gap, or something new
      this.listsDue = 0
      this.cursor = undefined
      throw new Error(`the feed does not go on: ${event}`)
    }
  }

  cut(cuts) {
    for (const cut of cuts) {
      if (this.cuts.has(JSON.stringify(cut))) continue
      this.cuts.add(JSON.stringify(cut))
      if (cut.k === 'kid') {
        this.killed.add(cut.h)
        this.keysDue = 0
      } else {
        this.listsDue = 0
      }
    }
  }

  /** Tells the issuer every 10 s, and when it asks, how far we are. Nothing is lost if one is. */
  async sendReceipts() {
    const headers = { authorization: this.authorization, 'content-type': 'application/json' }
    const verifier = randomBytes(16).toString('base64url')
    for (let leaves = false; !leaves; ) {
      const { signal } = this.receiptWanted
      await sleep(this.receiptEvery * 1000, undefined, { signal, ref: false }).catch(() => {})
      this.receiptWanted = new AbortController()
      leaves = this.leaving
      if (this.seq === undefined) continue
      const receipt = JSON.stringify({ verifier, name: this.name, seq: this.seq, leaves })
      // The next one may be taken.
      await this.fetch(`${this.issuer}/status/receipts`, headers, 2, 0, receipt).catch(() => {})
    }
  }
}
