// Orders, on Express with jose: every route says which scope it needs.

import express from 'express'
import { errors, jwtVerify } from 'jose'
import { Blind, RETRY_AFTER } from './countersign_status.mjs'

/** RFC 6750 §3: a challenge; without an error if there was no token at all (§3.1). */
function refuse(response, code, error, scope) {
  const parameters = [error && `error="${error}"`, scope && `scope="${scope}"`].filter(Boolean).join(', ')
  response.set('WWW-Authenticate', `Bearer ${parameters}`.trim()).status(code).json({ error: error ?? 'no token' })
}

export function makeApp({ issuer, audience, status }) {
  /** The claims of an access token for us; throws one of jose's errors, or Blind. */
  async function verify(token) {
    const { protectedHeader, payload } = await jwtVerify(token, status.key, {
      algorithms: ['RS256'], // RFC 8725 §3.1: never the token's own choice
      typ: 'at+jwt', // RFC 9068 §4, RFC 8725 §3.11
      issuer, // RFC 9068 §4
      audience, // RFC 9068 §4
      clockTolerance: 30,
      requiredClaims: ['exp', 'iat', 'sub', 'client_id', 'jti'], // RFC 9068 §2.2
    })
    // jose looks at iat only to tell an age.
    if (payload.iat > Date.now() / 1000 + 30) throw new errors.JWTInvalid('from the future')
    if (!Number.isFinite(payload.exp)) throw new errors.JWTInvalid('without end') // RFC 8259 §6: 1e999 is read as Infinity
    // RFC 9449 §7.2: bound to a key, so no bearer token; nothing here wants a proof.
    if ('cnf' in payload) throw new errors.JWTInvalid('bound to a key')
    // draft-ietf-oauth-status-list §8.3
    if (status.isOver(protectedHeader, payload)) throw new errors.JWTInvalid('over')
    return payload
  }

  const needs = (scope) => async (request, response, next) => {
    // RFC 6750 §2.1; RFC 9700 §4.3.2: in the header and nowhere else
    const [, token] = /^bearer +([\w.~+/-]+=*)$/i.exec(request.get('authorization') ?? '') ?? []
    if (!token) return refuse(response, 401)
    try {
      response.locals.claims = await verify(token)
    } catch (error) {
      if (error instanceof errors.JOSEError) return refuse(response, 401, 'invalid_token')
      throw error
    }
    // RFC 9068 §2.2.3, RFC 6750 §3.1
    const scopes = String(response.locals.claims.scope ?? '').split(' ')
    if (!scopes.includes(scope)) return refuse(response, 403, 'insufficient_scope', scope)
    next()
  }

  const orders = []
  const app = express()
  app.disable('x-powered-by')
  app.get('/', (_request, response) => response.json({ service: 'orders' }))
  app.get('/healthz', (_request, response) => {
    if (status.loaded) return response.json({ status: 'ready' })
    response.set('Retry-After', RETRY_AFTER).status(503).json({ status: 'starting' })
  })
  app.get('/orders', needs('read'), (_request, response) => {
    response.json({ orders: orders.filter((order) => order.sub === response.locals.claims.sub) })
  })
  app.post('/orders', needs('write'), (_request, response) => {
    const order = { id: String(orders.length + 1), sub: response.locals.claims.sub }
    orders.push(order)
    response.status(201).json(order)
  })
  app.use((error, _request, response, next) => {
    if (!(error instanceof Blind)) return next(error)
    // Our own blindness logs nobody out.
    response.set('Retry-After', RETRY_AFTER).status(503).json({ error: 'not known at the moment' })
  })
  return app
}
