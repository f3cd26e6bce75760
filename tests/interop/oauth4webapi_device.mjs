// A device without a secret on oauth4webapi, whose tokens are bound to a key of its own (DPoP).
//
// usage: oauth4webapi_device.mjs < {"issuer": …, "client": {"client_id": …}, "person": {"username": …, "password": …}}

import { Person } from './person.mjs'
import { asked, did, load, report } from './setting.mjs'

// Node.js 18 has WebCrypto but does not make it global.
globalThis.crypto ??= (await import('node:crypto')).webcrypto

const [oauth, library] = await load('oauth4webapi')
const person = new Person(asked.issuer, asked.person)
const options = { [oauth.allowInsecureRequests]: true }
const { client } = asked
const none = oauth.None()

const issuer = new URL(asked.issuer)
const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, options))
did('discovered', as.device_authorization_endpoint)
const scope = 'openid email offline_access'
const begun = await oauth.deviceAuthorizationRequest(as, client, none, { scope }, options)
const codes = await oauth.processDeviceAuthorizationResponse(as, client, begun)
did('began', codes.verification_uri === `${asked.issuer}/device` && codes.interval === 5)

const bound = { ...options, DPoP: oauth.DPoP(client, await oauth.generateKeyPair('ES256')) }
const poll = async () => {
  const answer = await oauth.deviceCodeGrantRequest(as, client, none, codes.device_code, bound)
  return oauth.processDeviceCodeResponse(as, client, answer)
}
const early = await poll().catch((error) => error)
did('waits', early instanceof oauth.ResponseBodyError && early.error === 'authorization_pending')
await person.follow(codes.verification_uri_complete)
did('let_in', person.seen.join() === 'Connect a device,Log in,Allow access?,Your device is connected')
const tokens = await poll()
const { sub } = oauth.getValidatedIdTokenClaims(tokens)
did('tokens', tokens.token_type === 'dpop' && tokens.refresh_token)

const told = await oauth.userInfoRequest(as, client, tokens.access_token, bound)
did('userinfo', (await oauth.processUserInfoResponse(as, client, sub, told)).email === asked.person.username)
const refresh = await oauth.refreshTokenGrantRequest(as, client, none, tokens.refresh_token, bound)
did('refreshed', (await oauth.processRefreshTokenResponse(as, client, refresh)).token_type === 'dpop')
const over = await poll().catch((error) => error)
did('once', over instanceof oauth.ResponseBodyError && over.error === 'invalid_grant')
report(library)
