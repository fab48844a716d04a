/**
 * Follows the answer of upload-pack as it is made, without keeping it: has pack data begun, has it
 * failed, is it complete. Source: gitprotocol-v2(5) "output" of fetch; gitprotocol-pack(5).
 */

export interface AnswerState {
  /** Payload of band 1 was seen; git's keep-alive is an empty packet and proves nothing. */
  started: boolean
  /** An `ERR` packet, band 3, or bytes that do not parse. */
  failed: boolean
  /** Band 3: the repository that upload-pack ran on is damaged. */
  damaged: boolean
  /** The last packet was a flush after pack data. */
  complete: boolean
  /** Upstream's own shallow boundary came unasked, or asked: `shallow` lines were seen. */
  shallowInfo: boolean
}

export interface AnswerScanner {
  state: AnswerState
  push(chunk: Uint8Array): void
}

/** What of a packet is looked at: the length, and enough of its text to tell the sections. */
const PEEK = 16

export function scanAnswer(family: 0 | 2): AnswerScanner {
  const state: AnswerState = {
    started: false,
    failed: false,
    damaged: false,
    complete: false,
    shallowInfo: false,
  }
  /** Head of the current packet as text, how many of its bytes are still to come, in which section. */
  const at = { head: '', left: 4, inHeader: true, packfile: family === 0, size: 0 }

  function header(): void {
    const length = /^[0-9a-f]{4}$/i.test(at.head) ? parseInt(at.head, 16) : 3
    if (length === 3) {
      state.failed = true
      return
    }
    state.complete = length === 0 && state.started
    at.head = ''
    at.size = Math.max(0, length - 4)
    at.left = at.size === 0 ? 4 : at.size
    at.inHeader = at.size === 0
  }

  function packet(): void {
    if (at.head.indexOf('ERR ') === 0) {
      state.failed = true
    } else if (at.packfile) {
      band()
    } else if (at.head.indexOf('packfile') === 0) {
      at.packfile = true
    } else if (at.head.indexOf('shallow ') === 0) {
      state.shallowInfo = true
    }
    at.head = ''
    at.left = 4
    at.inHeader = true
  }

  function band(): void {
    const code = at.head.charCodeAt(0)
    if (code === 1) {
      state.started = state.started || at.size > 1
    } else if (code === 3) {
      state.failed = true
      state.damaged = true
    } else if (family === 0 && at.head.indexOf('shallow ') === 0) {
      state.shallowInfo = true
    } else if (code !== 2 && !(family === 0 && /^(NAK|ACK |unshallow )/.test(at.head))) {
      state.failed = true
    }
  }

  function push(chunk: Uint8Array): void {
    let pos = 0
    while (pos < chunk.length && !state.failed) {
      const take = Math.min(at.left, chunk.length - pos)
      const peek = Math.min(take, PEEK - at.head.length)
      for (let i = 0; i < peek; i++) {
        at.head += String.fromCharCode(chunk[pos + i] as number)
      }
      pos += take
      at.left -= take
      // The first byte of pack data is enough to begin with: a packet may arrive in pieces.
      if (!at.inHeader && at.packfile && at.head.charCodeAt(0) === 1 && at.size > 1) {
        state.started = state.started || at.head.length > 1
      }
      if (at.left === 0) {
        if (at.inHeader) {
          header()
        } else {
          packet()
        }
      }
    }
  }

  return { state, push }
}
