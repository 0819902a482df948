/** Connection to the server: HTTP requests, and a WebSocket for actions and events that reconnects automatically. */

/** The server has answered with an error. */
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Fetch `path`, relative to the page. Throws Refused with the message of the server unless the request succeeds. */
export async function request(path, options = {}) {
  const response = await fetch(path, options);
  if (response.ok) return response;
  const detail = await response.json().then((body) => body.detail, () => null);
  const text = typeof detail === "string" ? detail : `${response.status} ${response.statusText}`;
  throw new Refused(text, response.status);
}

export function sendJson(path, body, options = {}) {
  const headers = { "Content-Type": "application/json" };
  return request(path, { method: "POST", headers, body: JSON.stringify(body), ...options });
}

/**
 * WebSocket connection. Reconnects after 0.5 s, then after increasing delays of up to 5 s. Each action has an id; the
 * server answers with the same id as soon as the action is on disk.
 */
class Live {
  constructor() {
    Object.assign(this, { socket: null, delay: 500, pending: new Map(), next: 1 });
  }

  /** Set `onEvent(event)`, called for each event, and `onLink("open" | "lost" | "denied")`, for changes; then connect. */
  start(onEvent, onLink) {
    Object.assign(this, { onEvent, onLink });
    this.connect();
  }

  connect() {
    const address = new URL("api/live", document.baseURI);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    socket.onopen = () => {
      this.socket = socket;
      this.delay = 500;
      this.onLink("open");
    };
    socket.onmessage = ({ data }) => this.arrived(JSON.parse(data));
    socket.onclose = () => this.lost();
  }

  async lost() {
    this.socket = null;
    for (const { reject } of this.pending.values()) reject(new Error("The connection was lost."));
    this.pending.clear();
    const denied = await fetch("api/state").then((answer) => [401, 403].includes(answer.status), () => false);
    this.onLink(denied ? "denied" : "lost");
    if (denied) return;
    setTimeout(() => this.connect(), this.delay);
    this.delay = Math.min(5000, this.delay * 1.5);
  }

  arrived(event) {
    const answer = this.pending.get(event.id);
    if (!answer) return this.onEvent(event);
    this.pending.delete(event.id);
    if (event.event === "error") answer.reject(new Error(event.message));
    else answer.resolve(event.result);
  }

  /** Send an action; resolves to its result when the server has stored it. */
  send(action) {
    if (this.socket?.readyState !== WebSocket.OPEN) return Promise.reject(new Error("Not connected: try again in a moment."));
    const id = this.next++;
    this.socket.send(JSON.stringify({ ...action, id }));
    return new Promise((resolve, reject) => this.pending.set(id, { resolve, reject }));
  }
}

export const live = new Live();
