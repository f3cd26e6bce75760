// A relying party on openid-client: registers itself, has a person log in, and uses everything that it got.
//
// usage: openid_client.mjs < {"issuer": …, "person": {"username": …, "password": …}}

import { Person } from './person.mjs'
import { AFTERWARDS, CALLBACK, METADATA, asked, did, load, report } from './setting.mjs'

const [client, library] = await load('openid-client')
const person = new Person(asked.issuer, asked.person)
const execute = [client.allowInsecureRequests]

const metadata = { ...METADATA, token_endpoint_auth_method: 'client_secret_basic' }
const config = await client.dynamicClientRegistration(new URL(asked.issuer), metadata, client.ClientSecretBasic(), { execute })
did('registered', config.clientMetadata().client_secret)
did('discovered', config.serverMetadata().supportsPKCE() && config.serverMetadata().issuer === asked.issuer)

const pkceCodeVerifier = client.randomPKCECodeVerifier()
const expectedState = client.randomState()
const expectedNonce = client.randomNonce()
const url = client.buildAuthorizationUrl(config, {
  redirect_uri: CALLBACK,
  scope: 'openid email offline_access',
  code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
  code_challenge_method: 'S256',
  state: expectedState,
  nonce: expectedNonce,
  max_age: '3600',
})
const answer = await person.follow(url)
did('asked', person.seen.join() === 'Log in,Allow access?')
const checks = { pkceCodeVerifier, expectedState, expectedNonce, maxAge: 3600, idTokenExpected: true }
const tokens = await client.authorizationCodeGrant(config, answer, checks)
const { sub } = tokens.claims()
did('code', tokens.access_token && tokens.refresh_token && sub)

const user = await client.fetchUserInfo(config, tokens.access_token, sub)
did('userinfo', user.email === asked.person.username)
const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token)
did('refreshed', refreshed.refresh_token !== tokens.refresh_token && refreshed.claims().sub === sub)
const seen = await client.tokenIntrospection(config, refreshed.access_token)
did('introspected', seen.active && seen.sub === sub)
await client.tokenRevocation(config, refreshed.refresh_token)
const over = await client.refreshTokenGrant(config, refreshed.refresh_token).catch((error) => error)
did('revoked', over instanceof client.ResponseBodyError && over.error === 'invalid_grant')

const bye = client.buildEndSessionUrl(config, {
  post_logout_redirect_uri: AFTERWARDS,
  id_token_hint: tokens.id_token,
  state: 'out',
})
did('logged_out', (await person.follow(bye)).href === `${AFTERWARDS}?state=out`)
await person.follow(url)
did('asked_again', person.seen[0] === 'Log in')
report(library)
