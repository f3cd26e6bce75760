// A single-page application with no server of its own, on oauth4webapi. The access token is in memory alone, and the refresh token
// in a cookie of Countersign's, which no script reads: neither is in localStorage, sessionStorage or IndexedDB.

import * as oauth from './node_modules/oauth4webapi/build/index.js'

const ISSUER = new URL('http://127.0.0.1:8080')
const CLIENT = { client_id: 'page' }
const REDIRECT_URI = `${location.origin}/`
const SCOPE = 'openid email read'

// On loopback alone.
const options = { [oauth.allowInsecureRequests]: location.hostname === '127.0.0.1' }
// The cookie goes along, and the header says that a page of ours means it.
const byCookie = {
  ...options,
  headers: { 'Countersign-Refresh': 'cookie' },
  [oauth.customFetch]: (url, init) => fetch(url, { ...init, credentials: 'include' }),
}
const as = await oauth.processDiscoveryResponse(ISSUER, await oauth.discoveryRequest(ISSUER, options))

let tokens
let refreshing

function keep(answer) {
  tokens = { ...answer, until: Date.now() + answer.expires_in * 1000 }
  return tokens
}

// What a request to an API needs; null when nobody is logged in. However many ask at once, one request refreshes.
async function accessToken() {
  if (tokens && Date.now() < tokens.until - 60_000) return tokens.access_token
  refreshing ??= refresh().finally(() => (refreshing = undefined))
  return (await refreshing)?.access_token ?? null
}

async function refresh() {
  // The same for every repeat, so that one after a lost answer is known for what it is.
  const parameters = { refresh_attempt: crypto.randomUUID() }
  for (const pause of [1_000, 3_000, undefined]) {
    try {
      const answer = await oauth.genericTokenEndpointRequest(as, CLIENT, oauth.None(), 'refresh_token', parameters, byCookie)
      return keep(await oauth.processRefreshTokenResponse(as, CLIENT, answer))
    } catch (error) {
      if (error.error === 'invalid_grant') return (tokens = undefined)
      if (pause === undefined || error.status < 500) throw error
    }
    await new Promise((resolve) => setTimeout(resolve, pause))
  }
}

async function logIn() {
  const [verifier, state, nonce] = [oauth.generateRandomCodeVerifier(), oauth.generateRandomState(), oauth.generateRandomNonce()]
  // No tokens: what the answer is compared with, until it comes.
  sessionStorage.setItem('asked', JSON.stringify({ verifier, state, nonce }))
  const url = new URL(as.authorization_endpoint)
  url.search = new URLSearchParams({
    client_id: CLIENT.client_id,
    response_type: 'code',
    redirect_uri: REDIRECT_URI,
    scope: SCOPE,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    nonce,
  })
  location.assign(url)
}

// Takes the answer that the page was loaded with, and throws if it is not one to a question of this page's.
async function comeBack() {
  const answer = new URL(location.href)
  const { verifier, state, nonce } = JSON.parse(sessionStorage.getItem('asked') ?? '{"state":""}')
  sessionStorage.removeItem('asked')
  history.replaceState(null, '', REDIRECT_URI)
  const parameters = oauth.validateAuthResponse(as, CLIENT, answer, state)
  const bought = await oauth.authorizationCodeGrantRequest(
    as, CLIENT, oauth.None(), parameters, REDIRECT_URI, verifier, byCookie,
  )
  const expected = { expectedNonce: nonce, requireIdToken: true }
  keep(await oauth.processAuthorizationCodeResponse(as, CLIENT, bought, expected))
}

async function logOut() {
  await fetch(as.revocation_endpoint, {
    method: 'POST',
    credentials: 'include',
    headers: byCookie.headers,
    body: new URLSearchParams(CLIENT),
  })
  const url = new URL(as.end_session_endpoint)
  url.search = new URLSearchParams({ id_token_hint: tokens.id_token, post_logout_redirect_uri: REDIRECT_URI, state: 'out' })
  tokens = undefined
  location.assign(url)
}

const [who, logInButton, logOutButton] = ['who', 'log-in', 'log-out'].map((id) => document.getElementById(id))
logInButton.addEventListener('click', logIn)
logOutButton.addEventListener('click', logOut)
try {
  if (/[?&](code|error)=/.test(location.search)) await comeBack()
  const token = await accessToken()
  if (token) {
    const { email } = await (await oauth.userInfoRequest(as, CLIENT, token, options)).json()
    who.textContent = `Logged in: ${email}`
    logOutButton.hidden = false
  } else {
    who.textContent = 'Nobody is logged in.'
    logInButton.hidden = false
  }
} catch (error) {
  who.textContent = `It did not work: ${error.error ?? error.message}`
  logInButton.hidden = false
}
