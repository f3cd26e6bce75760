// A relying party on oauth4webapi, which checks every answer by itself: a client without a secret that registers itself.
//
// usage: oauth4webapi.mjs < {"issuer": …, "person": {"username": …, "password": …}}

import { Person } from './person.mjs'
import { AFTERWARDS, CALLBACK, METADATA, asked, did, load, report } from './setting.mjs'

const [oauth, library] = await load('oauth4webapi')
const person = new Person(asked.issuer, asked.person)
const options = { [oauth.allowInsecureRequests]: true }

const issuer = new URL(asked.issuer)
const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, options))
const wanted = { ...METADATA, token_endpoint_auth_method: 'none' }
const client = await oauth.processDynamicClientRegistrationResponse(
  await oauth.dynamicClientRegistrationRequest(as, wanted, options),
)
did('registered', client.client_id && client.client_secret === undefined)
const oauth2 = await oauth.discoveryRequest(issuer, { ...options, algorithm: 'oauth2' })
did('discovered', (await oauth.processDiscoveryResponse(issuer, oauth2)).token_endpoint === as.token_endpoint)

const verifier = oauth.generateRandomCodeVerifier()
const state = oauth.generateRandomState()
const nonce = oauth.generateRandomNonce()
const url = new URL(as.authorization_endpoint)
url.search = new URLSearchParams({
  client_id: client.client_id,
  response_type: 'code',
  redirect_uri: CALLBACK,
  scope: 'openid email offline_access',
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
  state,
  nonce,
})
const answer = await person.follow(url)
did('asked', person.seen.join() === 'Log in,Allow access?')
const parameters = oauth.validateAuthResponse(as, client, answer, state)
const none = oauth.None()
const bought = await oauth.authorizationCodeGrantRequest(as, client, none, parameters, CALLBACK, verifier, options)
const expected = { expectedNonce: nonce, requireIdToken: true }
const tokens = await oauth.processAuthorizationCodeResponse(as, client, bought, expected)
await oauth.validateApplicationLevelSignature(as, bought, options)
const { sub } = oauth.getValidatedIdTokenClaims(tokens)
did('code', tokens.refresh_token && sub)

const told = await oauth.userInfoRequest(as, client, tokens.access_token, options)
did('userinfo', (await oauth.processUserInfoResponse(as, client, sub, told)).email === asked.person.username)
const refresh = (token) => oauth.refreshTokenGrantRequest(as, client, none, token, options)
const refreshed = await oauth.processRefreshTokenResponse(as, client, await refresh(tokens.refresh_token))
did('refreshed', refreshed.refresh_token !== tokens.refresh_token)
const request = new Request('https://api.example/', { headers: { authorization: `Bearer ${refreshed.access_token}` } })
const claims = await oauth.validateJwtAccessToken(as, request, asked.audience, options)
did('introspected', claims.sub === sub && claims.client_id === client.client_id)
await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, none, refreshed.refresh_token, options))
const over = await oauth
  .processRefreshTokenResponse(as, client, await refresh(refreshed.refresh_token))
  .catch((error) => error)
did('revoked', over instanceof oauth.ResponseBodyError && over.error === 'invalid_grant')

const bye = new URL(as.end_session_endpoint)
bye.search = new URLSearchParams({ id_token_hint: tokens.id_token, post_logout_redirect_uri: AFTERWARDS, state: 'out' })
did('logged_out', (await person.follow(bye)).href === `${AFTERWARDS}?state=out`)
await person.follow(url)
did('asked_again', person.seen[0] === 'Log in')
report(library)
