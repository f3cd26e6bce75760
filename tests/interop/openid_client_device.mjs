// A device on openid-client, which asks until its person has answered; and the person, who follows the link with the code in it.
//
// usage: openid_client_device.mjs < {"issuer": …, "client": {"client_id": …, "client_secret": …}, "person": {"username": …, "password": …}}

import { Person } from './person.mjs'
import { asked, did, load, report } from './setting.mjs'

const [client, library] = await load('openid-client')
const person = new Person(asked.issuer, asked.person)
const { client_id, client_secret } = asked.client
const execute = [client.allowInsecureRequests]

const config = await client.discovery(new URL(asked.issuer), client_id, client_secret, undefined, { execute })
did('discovered', config.serverMetadata().device_authorization_endpoint)
const codes = await client.initiateDeviceAuthorization(config, { scope: 'openid email offline_access' })
did('began', codes.verification_uri === `${asked.issuer}/device` && codes.interval === 5)
const polling = client.pollDeviceAuthorizationGrant(config, codes, undefined, { signal: AbortSignal.timeout(60_000) })
await person.follow(codes.verification_uri_complete)
did('let_in', person.seen.join() === 'Connect a device,Log in,Allow access?,Your device is connected')
const tokens = await polling
const { sub } = tokens.claims()
did('tokens', tokens.token_type === 'bearer' && tokens.refresh_token)

const user = await client.fetchUserInfo(config, tokens.access_token, sub)
did('userinfo', user.email === asked.person.username)
const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token)
did('refreshed', refreshed.claims().sub === sub)
const over = await client.pollDeviceAuthorizationGrant(config, { ...codes, interval: 0 }).catch((error) => error)
did('once', over instanceof client.ResponseBodyError && over.error === 'invalid_grant')
report(library)
