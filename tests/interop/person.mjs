// A person at a browser that keeps cookies: logs in on our page, allows what is asked, and says where they end up. No part of any
// library under test.

export class Person {
  constructor(issuer, { username, password }) {
    Object.assign(this, { issuer, username, password, cookies: new Map() })
  }

  async send(url, form) {
    const headers = { cookie: [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ') }
    // What a browser says of a form on our own page.
    if (form) headers.origin = this.issuer
    const answer = await fetch(url, {
      method: form ? 'POST' : 'GET',
      body: form && new URLSearchParams(form),
      headers,
      redirect: 'manual',
      signal: AbortSignal.timeout(20_000),
    })
    for (const cookie of answer.headers.getSetCookie()) {
      const [, name, value] = cookie.match(/^([^=]+)=([^;]*)/)
      this.cookies.set(name, value)
    }
    return answer
  }

  // Goes on from a URL until it leads away from us, or to a page without a form. What was shown is in `this.seen`.
  async follow(start) {
    this.seen = []
    let url = new URL(start)
    let answer = await this.send(url)
    for (let step = 0; step < 20; step += 1) {
      const location = answer.headers.get('location')
      if (location) {
        url = new URL(location, url)
        if (url.origin !== this.issuer) return url
        answer = await this.send(url)
        continue
      }
      const page = await answer.text()
      const action = page.match(/<form[^>]* action="([^"]*)"/)?.[1]
      this.seen.push(page.match(/<h1>([^<]*)/)?.[1])
      if (answer.status !== 200 || !action) return url
      const form = {}
      for (const [, name, value] of page.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"/g)) form[name] = value
      if (action === '/login') Object.assign(form, { username: this.username, password: this.password })
      if (action === '/consent') form.decision = 'allow'
      if (action === '/device') form.user_code = page.match(/name="user_code"[^>]* value="([^"]*)"/)[1]
      answer = await this.send(new URL(action, url), form)
    }
    throw new Error(`it never ends: ${this.seen}`)
  }
}
