// What the service answers, with an issuer in memory: chiefly that a list that is too old is a 503 and no 401.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeApp } from './app.mjs'
import { AUDIENCE, FakeIssuer, INFINITE, ISSUER } from './fake_issuer.mjs'

async function start(context) {
  const issuer = new FakeIssuer()
  issuer.bits[0] = 1
  const status = issuer.status()
  const server = makeApp({ issuer: ISSUER, audience: AUDIENCE, status }).listen(0, '127.0.0.1')
  context.after(() => server.close())
  await new Promise((listens) => server.once('listening', listens))
  const base = `http://127.0.0.1:${server.address().port}`
  const ask = async (token) => {
    const headers = token ? { authorization: `Bearer ${token}` } : {}
    const answer = await fetch(`${base}/orders`, { headers })
    return [answer.status, answer.headers.get('www-authenticate'), answer.headers.get('retry-after')]
  }
  const health = async () => (await fetch(`${base}/healthz`)).status
  return { issuer, status, ask, health }
}

test('blindness is a 503 that says when to come back', async (context) => {
  const { issuer, status, ask, health } = await start(context)
  assert.equal(await health(), 503)
  assert.deepEqual(await ask(await issuer.accessToken()), [503, null, '15'])
  await status.refresh()
  assert.equal(await health(), 200)
  assert.deepEqual(await ask(await issuer.accessToken()), [200, null, null])
  issuer.moved = 361
  assert.deepEqual(await ask(await issuer.accessToken()), [503, null, '15'])
  assert.equal((await ask(await issuer.accessToken({ typ: 'JWT' })))[0], 401)
})

test('each check refuses by itself', async (context) => {
  const { issuer, status, ask } = await start(context)
  await status.refresh()
  const now = issuer.now()
  for (const more of [
    { idx: 0 },
    { typ: 'JWT' },
    { typ: 'statuslist+jwt' },
    { iss: 'https://other.example' },
    { aud: ['https://elsewhere.example'] },
    { exp: now - 31 },
    { exp: String(now + 600) },
    { exp: INFINITE },
    { iat: now + 60 },
    { jti: null },
    { client_id: null },
    { typ: 5 },
    { status: null },
    { cnf: { jkt: '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I' } },
  ]) {
    const refused = [401, 'Bearer error="invalid_token"', null]
    assert.deepEqual(await ask(await issuer.accessToken(more)), refused, JSON.stringify(more))
  }
  assert.equal((await ask('nonsense'))[0], 401)
  assert.equal((await ask(await issuer.accessToken({ exp: now - 20 })))[0], 200, 'the leeway')
  assert.equal((await ask(await issuer.accessToken({ typ: 'application/at+jwt' })))[0], 200)
  const challenge = 'Bearer error="insufficient_scope", scope="read"'
  assert.deepEqual(await ask(await issuer.accessToken({ scope: 'readers write' })), [403, challenge, null])
  assert.deepEqual(await ask(), [401, 'Bearer', null])
})
