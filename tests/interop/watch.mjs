// Resource servers that stay: each verifies one access token a line, as long as lines come.
//
// usage: watch.mjs LIBRARY ISSUER AUDIENCE SCALE
//
// LIBRARY is jose or jwks-rsa. Every cache lives SCALE times as long as the library has it live, so that a rehearsal of
// days takes minutes. For each line of standard input one line is printed: "ok", or "no" and the reason.

import { createRequire } from 'node:module'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'

globalThis.crypto ??= (await import('node:crypto')).webcrypto

const modules =
  process.env.COUNTERSIGN_TEST_NODE_MODULES ??
  fileURLToPath(new URL('../../target/interop/node/node_modules', import.meta.url))
const require = createRequire(join(modules, 'anchor.js'))
const jose = await import(pathToFileURL(require.resolve('jose')).href)

const [library, issuer, audience, scaleText] = process.argv.slice(2)
const scale = Number(scaleText)
const metadata = await (await fetch(`${issuer}/.well-known/oauth-authorization-server`)).json()
// Both that the issuer may sign by: it moves from one to the other under these eyes.
const expected = { algorithms: ['RS256', 'PS256'], issuer, audience, typ: 'at+jwt' }

function withJose() {
  const keys = jose.createRemoteJWKSet(new URL(metadata.jwks_uri), {
    cacheMaxAge: 600_000 * scale,
    cooldownDuration: 30_000 * scale,
  })
  return (token) => jose.jwtVerify(token, keys, expected)
}

function withJwksRsa() {
  const client = require('jwks-rsa')({ jwksUri: metadata.jwks_uri, cache: true, cacheMaxAge: Math.ceil(600_000 * scale) })
  return async (token) => {
    const { kid } = jose.decodeProtectedHeader(token)
    const key = await client.getSigningKey(kid)
    await jose.jwtVerify(token, await jose.importSPKI(key.getPublicKey(), key.alg), expected)
  }
}

const verify = { jose: withJose, 'jwks-rsa': withJwksRsa }[library]()
for await (const line of createInterface({ input: process.stdin })) {
  try {
    await verify(line.trim())
    console.log('ok')
  } catch (error) {
    console.log(`no ${error.code ?? error.name}: ${error.message}`.replaceAll('\n', ' '))
  }
}
