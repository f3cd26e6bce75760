// What is taken for a list, what the feed does to it, and what is said when it is too old.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
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
  for (const idx of [2 ** 20, -1, '1', 1.5]) assert.ok(isOver(idx), idx)
  for (const uri of ['https://other.example/status/0', `${LIST}/../0`, `${ISSUER}/status/00`, `${LIST}\n`, 0]) {
    assert.ok(isOver(1, uri), uri)
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

test('a smaller number is taken long after the last list, and the feed begins anew', async () => {
  const { issuer, status, feed } = start()
  issuer.stopped = issuer.now() - 100
  await status.refresh()
  await feed(change(6), change(7))
  issuer.seq = 7
  await status.refresh()
  issuer.seq = 2
  issuer.stopped += 60
  await status.refresh()
  assert.deepEqual([status.lists.get(LIST).seq, status.cursor], [7, 7], 'kept by somebody on the way')
  issuer.stopped += 1
  await status.refresh()
  assert.deepEqual([status.lists.get(LIST).seq, status.cursor], [2, undefined])
  await feed()
  assert.equal(issuer.since, '2')
})

test('a bit that was told is dropped when the issuer has lost it', async () => {
  const { issuer, status, isOver, feed } = start()
  issuer.stopped = issuer.now() - 100
  await status.refresh()
  await feed(change(6), change(7), change(8, { set: [3] }))
  for (const [seq, later, over] of [
    [6, 60, true],
    [7, 1, false],
  ]) {
    issuer.seq = seq
    issuer.stopped += later
    await status.refresh()
    assert.equal(isOver(3), over)
  }
})

test('a feed that is refused is asked for again, and the lists are polled', async (context) => {
  const { issuer, status, isOver, feed } = start()
  const warn = context.mock.method(console, 'warn', () => {})
  const now = () => performance.now() / 1000
  await status.refresh()
  for (const [code, after] of [[401, 2], [403, 5], [400, 15], [403, 15]]) {
    issuer.refusal = code
    await status.follow(1)
    assert.match(warn.mock.calls.pop().arguments[0], new RegExp(`HTTP ${code}: .* in ${after} s`))
    assert.ok(Math.abs(status.feedDue - now() - after) < 0.5)
    warn.mock.resetCalls()
  }
  issuer.refusal = 0
  issuer.bits[0] = 1
  issuer.seq = 6
  status.feedDue = now() + 0.1
  status.listsDue = 0
  await status.step()
  assert.deepEqual([isOver(0), issuer.since], [true, ''])
  await feed()
  assert.deepEqual([issuer.since, issuer.wait, status.refusals], ['6', '0', 0])
  issuer.refusal = 503
  await assert.rejects(status.follow(1), /refused/)
})

test('the issuer is told how far we are while we follow, and that we leave', async (context) => {
  const { issuer, status } = start()
  const receipts = async (atLeast) => {
    for (let tries = 0; issuer.receipts.length < atLeast && tries < 500; tries += 1) await sleep(10)
    return issuer.receipts.map(({ seq, leaves }) => [seq, leaves])
  }
  context.mock.method(console, 'warn', () => {})
  status.receipts = status.sendReceipts()
  for (const event of [change(6), change(7), change(8, { ack: true, cut: [CUT] })]) {
    issuer.events = [event]
    await status.step()
  }
  assert.deepEqual(await receipts(1), [[6, false]], 'at the beginning, and 10 s later')
  issuer.events = []
  issuer.away = true
  await assert.rejects(status.step(), /away/)
  assert.deepEqual(await receipts(1), [[6, false]], 'the lists lack the change')
  issuer.away = false
  await status.step()
  assert.deepEqual(await receipts(2), [[6, false], [8, false]], 'the issuer asked')
  issuer.refusal = 403
  for (const seq of [8, undefined]) {
    await status.step()
    assert.equal(status.seq, seq)
    status.feedDue = performance.now() / 1000 + 0.1
  }
  status.receiptEvery = 0.01
  status.receiptWanted.abort()
  await sleep(50)
  assert.equal((await receipts(2)).length, 2, 'who does not follow says nothing')
  status.seq = 9
  assert.deepEqual((await receipts(4)).slice(2, 4), [[9, false], [9, false]])
  status.receiptEvery = 10
  await sleep(50)
  const said = (await receipts(0)).length
  const began = performance.now()
  await status.leave()
  assert.ok(performance.now() - began < 5000)
  assert.deepEqual((await receipts(0)).slice(said), [[9, true]])
  const [verifier, ...others] = new Set(issuer.receipts.map(({ verifier }) => verifier))
  assert.deepEqual([Buffer.from(verifier, 'base64url').length, others], [16, []])
  assert.ok(issuer.receipts.every(({ name }) => name === 'shop 1'))
})

test('no proxy is asked', async (context) => {
  const asked = []
  const server = createServer((request, response) => asked.push(request.url) && response.end('{"keys": []}'))
  context.after(() => server.close())
  await new Promise((listens) => server.listen(0, '127.0.0.1', listens))
  const here = `http://127.0.0.1:${server.address().port}`
  const script = `
    import { Status } from './countersign_status.mjs'
    const status = new Status({ issuer: '${here}' })
    await status.fetch('${here}/status', {}, 2, 100)
    await status.remoteKeys.reload()`
  const cwd = fileURLToPath(new URL('.', import.meta.url))
  const env = { ...process.env, HTTP_PROXY: here, http_proxy: here, NO_PROXY: '', no_proxy: '' }
  await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { cwd, env })
  // A proxy would be asked for the whole address.
  assert.deepEqual(asked, ['/status', '/jwks.json'])
})

test('an issuer elsewhere is https', () => {
  assert.throws(() => new Status({ issuer: 'http://id.example.com' }), /https/)
  new Status({ issuer: 'http://127.0.0.1:8080' })
})
