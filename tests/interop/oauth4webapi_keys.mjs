// A relying party on oauth4webapi that has a key in the place of a secret: it registers itself with it, pushes its request, and has its
// tokens bound (private_key_jwt, PAR, DPoP). Signatures of the server are verified, by the algorithm that it was asked for if it was.
//
// usage: oauth4webapi_keys.mjs < {"issuer": …, "person": {"username": …, "password": …}, "client": more metadata}

import { Person } from './person.mjs'
import { AFTERWARDS, CALLBACK, METADATA, asked, did, load, report } from './setting.mjs'

// Node.js 18 has WebCrypto but does not make it global.
globalThis.crypto ??= (await import('node:crypto')).webcrypto

const [oauth, library] = await load('oauth4webapi')
const person = new Person(asked.issuer, asked.person)
const options = { [oauth.allowInsecureRequests]: true }

const issuer = new URL(asked.issuer)
const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, options))
const key = await oauth.generateKeyPair('ES256', { extractable: true })
const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', key.publicKey)
const wanted = {
  ...METADATA,
  token_endpoint_auth_method: 'private_key_jwt',
  jwks: { keys: [{ kty, crv, x, y, kid: 'one', use: 'sig', alg: 'ES256' }] },
  dpop_bound_access_tokens: true,
  require_pushed_authorization_requests: true,
  ...asked.client,
}
const client = await oauth.processDynamicClientRegistrationResponse(
  await oauth.dynamicClientRegistrationRequest(as, wanted, options),
)
did('registered', client.client_secret === undefined && client.dpop_bound_access_tokens)
did('discovered', as.pushed_authorization_request_endpoint)

const proof = oauth.PrivateKeyJwt({ key: key.privateKey, kid: 'one' })
const bound = { ...options, DPoP: oauth.DPoP(client, await oauth.generateKeyPair('ES256')) }
const verifier = oauth.generateRandomCodeVerifier()
const state = oauth.generateRandomState()
const nonce = oauth.generateRandomNonce()
const parameters = {
  client_id: client.client_id,
  response_type: 'code',
  redirect_uri: CALLBACK,
  scope: 'openid email offline_access',
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
  state,
  nonce,
}
const answered = await oauth.pushedAuthorizationRequest(as, client, proof, parameters, bound)
const pushed = await oauth.processPushedAuthorizationResponse(as, client, answered)
did('pushed', pushed.request_uri.startsWith('urn:ietf:params:oauth:request_uri:') && pushed.expires_in)
const url = new URL(as.authorization_endpoint)
url.search = new URLSearchParams({ client_id: client.client_id, request_uri: pushed.request_uri })
const answer = await person.follow(url)
did('asked', person.seen.join() === 'Log in,Allow access?')
const told = oauth.validateAuthResponse(as, client, answer, state)
const bought = await oauth.authorizationCodeGrantRequest(as, client, proof, told, CALLBACK, verifier, bound)
const expected = { expectedNonce: nonce, requireIdToken: true }
const tokens = await oauth.processAuthorizationCodeResponse(as, client, bought, expected)
const { sub } = oauth.getValidatedIdTokenClaims(tokens)
await oauth.validateApplicationLevelSignature(as, bought, options)
const { alg } = JSON.parse(Buffer.from(tokens.id_token.split('.')[0], 'base64url'))
const signed = alg === (asked.client.id_token_signed_response_alg ?? 'RS256')
did('code', tokens.token_type === 'dpop' && tokens.refresh_token && signed)

const userinfo = await oauth.userInfoRequest(as, client, tokens.access_token, bound)
did('userinfo', (await oauth.processUserInfoResponse(as, client, sub, userinfo)).email === asked.person.username)
if (asked.client.userinfo_signed_response_alg) await oauth.validateApplicationLevelSignature(as, userinfo, options)
const copied = await fetch(as.userinfo_endpoint, { headers: { authorization: `Bearer ${tokens.access_token}` } })
did('copied', copied.status === 401)
const refresh = async (token) => {
  const answer = await oauth.refreshTokenGrantRequest(as, client, proof, token, bound)
  return oauth.processRefreshTokenResponse(as, client, answer)
}
const refreshed = await refresh(tokens.refresh_token)
did('refreshed', refreshed.token_type === 'dpop' && refreshed.refresh_token === tokens.refresh_token)
const gone = await oauth.revocationRequest(as, client, proof, refreshed.refresh_token, options)
await oauth.processRevocationResponse(gone)
const over = await refresh(refreshed.refresh_token).catch((error) => error)
did('revoked', over instanceof oauth.ResponseBodyError && over.error === 'invalid_grant')

const bye = new URL(as.end_session_endpoint)
bye.search = new URLSearchParams({ id_token_hint: tokens.id_token, post_logout_redirect_uri: AFTERWARDS, state: 'out' })
did('logged_out', (await person.follow(bye)).href === `${AFTERWARDS}?state=out`)
report(library)
