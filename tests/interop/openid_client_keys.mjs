// A relying party on openid-client that has keys in the place of a secret: it registers itself with them, pushes its request, and has its
// tokens bound (private_key_jwt, PAR, DPoP). Signatures of the server are verified, by the algorithm that it was asked for if it was.
//
// usage: openid_client_keys.mjs < {"issuer": …, "person": {"username": …, "password": …}, "client": more metadata}

import { Person } from './person.mjs'
import { AFTERWARDS, CALLBACK, METADATA, asked, did, load, report } from './setting.mjs'

// Node.js 18 has WebCrypto but does not make it global.
globalThis.crypto ??= (await import('node:crypto')).webcrypto

const [client, library] = await load('openid-client')
const person = new Person(asked.issuer, asked.person)
const execute = [client.allowInsecureRequests, client.enableNonRepudiationChecks]

const key = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify'])
const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', key.publicKey)
const metadata = {
  ...METADATA,
  token_endpoint_auth_method: 'private_key_jwt',
  jwks: { keys: [{ kty, crv, x, y, kid: 'one', use: 'sig', alg: 'ES256' }] },
  dpop_bound_access_tokens: true,
  require_pushed_authorization_requests: true,
  ...asked.client,
}
const authentication = client.PrivateKeyJwt({ key: key.privateKey, kid: 'one' })
const config = await client.dynamicClientRegistration(new URL(asked.issuer), metadata, authentication, { execute })
did('registered', config.clientMetadata().client_secret === undefined && config.clientMetadata().dpop_bound_access_tokens)
did('discovered', config.serverMetadata().pushed_authorization_request_endpoint)

const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair())
const pkceCodeVerifier = client.randomPKCECodeVerifier()
const expectedState = client.randomState()
const expectedNonce = client.randomNonce()
const parameters = {
  redirect_uri: CALLBACK,
  scope: 'openid email offline_access',
  code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
  code_challenge_method: 'S256',
  state: expectedState,
  nonce: expectedNonce,
}
const url = await client.buildAuthorizationUrlWithPAR(config, parameters, { DPoP })
did('pushed', [...url.searchParams.keys()].sort().join() === 'client_id,request_uri')
const answer = await person.follow(url)
did('asked', person.seen.join() === 'Log in,Allow access?')
const checks = { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true }
const tokens = await client.authorizationCodeGrant(config, answer, checks, undefined, { DPoP })
const { sub } = tokens.claims()
const { alg } = JSON.parse(Buffer.from(tokens.id_token.split('.')[0], 'base64url'))
const signed = alg === (asked.client.id_token_signed_response_alg ?? 'RS256')
did('code', tokens.token_type === 'dpop' && tokens.refresh_token && signed)

const user = await client.fetchUserInfo(config, tokens.access_token, sub, { DPoP })
did('userinfo', user.email === asked.person.username)
const copied = await fetch(config.serverMetadata().userinfo_endpoint, {
  headers: { authorization: `Bearer ${tokens.access_token}` },
})
did('copied', copied.status === 401)
const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP })
did('refreshed', refreshed.token_type === 'dpop' && refreshed.claims().sub === sub)
await client.tokenRevocation(config, refreshed.refresh_token)
const over = await client.refreshTokenGrant(config, refreshed.refresh_token, undefined, { DPoP }).catch((error) => error)
did('revoked', over instanceof client.ResponseBodyError && over.error === 'invalid_grant')

const end = { post_logout_redirect_uri: AFTERWARDS, id_token_hint: tokens.id_token, state: 'out' }
did('logged_out', (await person.follow(client.buildEndSessionUrl(config, end))).href === `${AFTERWARDS}?state=out`)
report(library)
