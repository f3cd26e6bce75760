// A resource server on jose: verifies Countersign's access tokens with the library's own remote key set.
//
// usage: jose_verify.mjs ISSUER AUDIENCE < {"good": [token, ...], "bad": [token, ...]}
//
// Every good token must pass and every bad token must be refused by a verification error; anything else, a key set
// that cannot be fetched included, exits 1. RFC 9068 section 4 is the list of what a resource server checks.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

// Node.js 18 has WebCrypto but does not make it global.
globalThis.crypto ??= (await import('node:crypto')).webcrypto

// Modules are installed under target/, away from this file, so they are found by path.
const modules =
  process.env.COUNTERSIGN_TEST_NODE_MODULES ??
  fileURLToPath(new URL('../../target/interop/node/node_modules', import.meta.url))
const { resolve } = createRequire(join(modules, 'anchor.js'))
const { createRemoteJWKSet, errors, jwtVerify } = await import(pathToFileURL(resolve('jose')).href)
const { version } = JSON.parse(readFileSync(join(modules, 'jose', 'package.json'), 'utf8'))

const REFUSALS = [
  errors.JOSEAlgNotAllowed,
  errors.JOSENotSupported,
  errors.JWKSMultipleMatchingKeys,
  errors.JWKSNoMatchingKey,
  errors.JWSInvalid,
  errors.JWSSignatureVerificationFailed,
  errors.JWTClaimValidationFailed,
  errors.JWTExpired,
  errors.JWTInvalid,
]

function fail(message) {
  console.error(`jose_verify: ${message}`)
  process.exit(1)
}

async function discover(issuer) {
  const response = await fetch(`${issuer}/.well-known/oauth-authorization-server`, { signal: AbortSignal.timeout(10_000) })
  if (!response.ok) fail(`metadata answered ${response.status}`)
  const metadata = await response.json()
  if (metadata.issuer !== issuer) fail(`metadata names issuer ${metadata.issuer}, expected ${issuer}`)
  return new URL(metadata.jwks_uri)
}

const [issuer, audience, ...rest] = process.argv.slice(2)
if (!issuer || !audience || rest.length) fail('usage: jose_verify.mjs ISSUER AUDIENCE')
const tokens = JSON.parse(readFileSync(0, 'utf8'))
const keys = createRemoteJWKSet(await discover(issuer))
async function verify(token) {
  const verified = await jwtVerify(token, keys, {
    algorithms: ['RS256'],
    issuer,
    audience,
    typ: 'at+jwt',
    requiredClaims: ['iss', 'exp', 'aud', 'sub', 'client_id', 'iat', 'jti'],
  })
  // RFC 9449 section 7.2: bound to a key, so no bearer token; nothing here wants a proof.
  if ('cnf' in verified.payload) throw new errors.JWTInvalid('bound to a key')
  return verified
}

const subjects = []
for (const [number, token] of tokens.good.entries()) {
  try {
    subjects.push((await verify(token)).payload.sub)
  } catch (error) {
    fail(`good token ${number} was refused: ${error.code ?? error.name}: ${error.message}`)
  }
}

let refused = 0
for (const [number, token] of tokens.bad.entries()) {
  try {
    await verify(token)
  } catch (error) {
    if (!REFUSALS.some((refusal) => error instanceof refusal)) {
      fail(`bad token ${number} met another error: ${error.code ?? error.name}: ${error.message}`)
    }
    refused += 1
    continue
  }
  fail(`bad token ${number} was accepted`)
}

console.log(JSON.stringify({ verified: subjects.length, refused, subjects, library: `jose ${version}` }))
