// What the Node.js clients under test share: where their modules are, what they are told, how they say what they did.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

// Modules are installed under target/, away from this file, so they are found by path.
const modules =
  process.env.COUNTERSIGN_TEST_NODE_MODULES ??
  fileURLToPath(new URL('../../target/interop/node/node_modules', import.meta.url))

export async function load(name) {
  const { resolve } = createRequire(join(modules, 'anchor.js'))
  const { version } = JSON.parse(readFileSync(join(modules, name, 'package.json'), 'utf8'))
  return [await import(pathToFileURL(resolve(name)).href), `${name} ${version}`]
}

export const asked = JSON.parse(readFileSync(0, 'utf8'))
export const CALLBACK = 'https://app.example/cb'
export const AFTERWARDS = 'https://app.example/bye'
export const METADATA = {
  client_name: 'Interop',
  redirect_uris: [CALLBACK],
  post_logout_redirect_uris: [AFTERWARDS],
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
}

const done = []

export function did(step, holds) {
  if (!holds) throw new Error(`${step}: it is not so`)
  done.push(step)
}

export function report(library) {
  console.log(JSON.stringify({ library, done }))
}
