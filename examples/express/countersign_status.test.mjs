// What is taken for a list, what the feed does to it, and what is said when it is too old.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deflateSync } from 'node:zlib'
import { Blind, LIST_BYTES, Status } from './countersign_status.mjs'
import { FakeIssuer, ISSUER, LIST, lst } from './fake_issuer.mjs'

function start() {
  const issuer = new FakeIssuer()
  const status = issuer.status()
  const isOver = (idx, uri = LIST) => status.isOver({ kid: 'key' }, { status: { status_list: { idx, uri } } })
  const feed = (...events) => {
    issuer.events = [{ event: 'hello', data: { n: 9, lists: 1, cuts: [] } }, ...events]
    return status.follow(1)
  }
  return { issuer, status, isOver, feed }
}
const change = (n, more) => ({ event: 'change', data: { n, ...more } })
const CUT = { k: 'sub', h: 'x', nbf: 1, until: 2 }

test('a bit is found where the draft says', async () => {
  const { issuer, status, isOver } = start()
  issuer.bits.set([0xb9, 0xa3]) // draft-ietf-oauth-status-list §4.1
  await status.refresh()
  assert.ok(status.loaded)
  const set = [...Array(16).keys()].filter((idx) => isOver(idx))
  assert.deepEqual(set, [0, 3, 4, 5, 7, 8, 9, 13, 15])
})

test('nothing is known before the first list and after its end', async () => {
  const { issuer, status, isOver } = start()
  assert.throws(() => isOver(1), Blind)
  await status.refresh()
  issuer.moved = 355
  assert.equal(isOver(1), false)
  issuer.moved = 361
  assert.throws(() => isOver(1), Blind)
  // An issuer that is away leaves what there is.
  issuer.moved = 300
  issuer.away = true
  await assert.rejects(status.refresh(), /away/)
  assert.equal(isOver(1), false)
})

test('a token without a place is over, and one in a new list is not known', async () => {
  const { status, isOver } = start()
  await status.refresh()
  for (const [idx, uri] of [[2 ** 20], [-1], ['1'], [1.5], [1, 'https://other.example/status/0']]) {
    assert.ok(isOver(idx, uri), `${idx} ${uri}`)
  }
  for (const claims of [{}, { status: null }, { status: { status_list: 1 } }]) {
    assert.ok(status.isOver({ kid: 'key' }, claims))
  }
  assert.throws(() => isOver(1, `${ISSUER}/status/7`), Blind)
})

test('only a list that is one is taken', async () => {
  const { issuer, status, isOver } = start()
  const now = issuer.now()
  const list = (text) => ({ status_list: { bits: 1, lst: text } })
  const and = Buffer.concat([deflateSync(Buffer.alloc(LIST_BYTES)), Buffer.from('x')]).toString('base64url')
  const bad = [
    { typ: 'at+jwt' },
    { kid: 'unknown' },
    { alg: 'HS256' },
    { iss: 'https://other.example' },
    { sub: `${ISSUER}/status/1` },
    { exp: now - 31 },
    { iat: now + 60 },
    { seq: null },
    { seq: '5' },
    { status_list: { bits: 2, lst: lst(LIST_BYTES) } },
    list(lst(LIST_BYTES - 1)),
    list(lst(LIST_BYTES + 1)),
    list(lst(64 << 20)),
    list(lst(LIST_BYTES).slice(0, -8)),
    list(and),
  ]
  for (const changed of bad) {
    issuer.changed = changed
    await assert.rejects(status.load(LIST), undefined, JSON.stringify(changed).slice(0, 80))
  }
  assert.throws(() => isOver(1), Blind)
  issuer.changed = list(lst(200 << 20))
  await assert.rejects(status.load(LIST), { code: 'ERR_BUFFER_TOO_LARGE' }, 'a bomb does not go off')
  issuer.changed = {}
  await status.load(LIST)
  assert.equal(isOver(1), false)
})

test('what has not changed is not sent again, and what is older is not taken', async () => {
  const { issuer, status, isOver } = start()
  await status.refresh()
  await status.refresh()
  assert.equal(issuer.unchanged, 1)
  issuer.bits[0] = 1
  issuer.seq = 9
  await status.refresh()
  issuer.bits[0] = 0
  issuer.seq = 8
  await status.refresh()
  assert.ok(isOver(0), 'of an instance that is behind')
})

test('the feed tightens at once and only a list loosens', async () => {
  const { issuer, status, isOver, feed } = start()
  await status.refresh()
  await feed(change(6, { set: [3, 2 ** 20 + 4] }), { event: 'beat', data: { n: 6 } })
  assert.deepEqual([issuer.since, status.cursor], ['5', 6])
  assert.ok(isOver(3) && !isOver(4) && isOver(4, `${ISSUER}/status/1`))
  await feed(change(7, { clr: [3] }), change(8, { set: [5] }))
  assert.ok(isOver(3))
  issuer.seq = 7
  await status.refresh()
  assert.equal(isOver(3), false)
  assert.ok(isOver(5), 'the list is older than the change')
})

test('what is not clear fetches the lists anew', async () => {
  for (const [event, goesOn] of [
    [change(6, { cut: [CUT] }), true],
    [change(6, { lists: 2 }), true],
    [change(6, { weather: 'fine' }), true],
    [change(8), false],
    [{ event: 'reset', data: {} }, false],
    [{ event: 'weather', data: {} }, false],
  ]) {
    const { status, feed } = start()
    await status.refresh()
    status.listsDue = 1000
    await (goesOn ? feed(event) : assert.rejects(feed(event), /does not go on/))
    assert.deepEqual([status.cursor, status.listsDue], [goesOn ? 6 : undefined, 0], JSON.stringify(event))
  }
})

test('a cut-off is news once', async () => {
  const { issuer, status } = start()
  await status.refresh()
  for (const due of [0, 1000]) {
    status.listsDue = 1000
    issuer.events = [{ event: 'hello', data: { n: 5, lists: 1, cuts: [CUT] } }]
    await status.follow(1)
    assert.equal(status.listsDue, due)
  }
})

test('a compromised key signs nothing', async () => {
  const { issuer, status, isOver, feed } = start()
  await status.refresh()
  status.keysDue = 1000
  await feed(change(6, { cut: [{ k: 'kid', h: 'key', nbf: 1, until: 0 }] }))
  assert.ok(isOver(1))
  assert.equal(status.keysDue, 0)
  issuer.seq = 6
  await assert.rejects(status.load(LIST))
})

test('after a failure the feed begins where the lists are', async () => {
  const { issuer, status, feed } = start()
  await status.refresh()
  await feed(change(6, { set: [3] }))
  issuer.away = true
  await assert.rejects(status.follow(1), /away/)
  issuer.away = false
  await feed(change(6, { set: [3] }))
  assert.equal(issuer.since, '5')
})

test('who follows says who it is', async () => {
  const { issuer, status, feed } = start()
  await status.refresh()
  await feed()
  assert.equal(issuer.authorization, `Basic ${Buffer.from('orders:a+b%3A').toString('base64')}`)
})

test('an issuer elsewhere is https', () => {
  assert.throws(() => new Status({ issuer: 'http://id.example.com' }), /https/)
  new Status({ issuer: 'http://127.0.0.1:8080' })
})
