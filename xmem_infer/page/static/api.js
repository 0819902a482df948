/** The server: requests by REST, actions and events by a WebSocket that connects again by itself. */

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Fetch `path` below the page's own address; anything but success is an error with the server's own words. */
export async function request(path, options = {}) {
  const response = await fetch(path, { credentials: "same-origin", ...options });
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
 * `onEvent(event)` for each event of the server, `onLink("open" | "lost" | "denied")` when the connection changes.
 * Waits from half a second to five before each new try. Actions carry a number: the server answers when they are on disk.
 */
export class Live {
  constructor(onEvent, onLink) {
    Object.assign(this, { onEvent, onLink, socket: null, wait: 500, asked: new Map(), next: 1 });
  }

  connect() {
    const address = new URL("api/live", document.baseURI);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    socket.onopen = () => {
      this.socket = socket;
      this.wait = 500;
      this.onLink("open");
    };
    socket.onmessage = ({ data }) => this.arrived(JSON.parse(data));
    socket.onclose = () => this.lost();
  }

  async lost() {
    this.socket = null;
    for (const { reject } of this.asked.values()) reject(new Error("The connection was lost."));
    this.asked.clear();
    const denied = await fetch("api/state", { credentials: "same-origin" }).then((answer) => [401, 403].includes(answer.status), () => false);
    this.onLink(denied ? "denied" : "lost");
    if (denied) return;
    setTimeout(() => this.connect(), this.wait);
    this.wait = Math.min(5000, this.wait * 1.5);
  }

  arrived(event) {
    const answer = this.asked.get(event.id);
    if (!answer) return this.onEvent(event);
    this.asked.delete(event.id);
    if (event.event === "error") answer.reject(new Error(event.message));
    else answer.resolve(event.result);
  }

  /** The action's result once it is stored. */
  send(action) {
    if (this.socket?.readyState !== WebSocket.OPEN) return Promise.reject(new Error("Not connected: try again in a moment."));
    const id = this.next++;
    this.socket.send(JSON.stringify({ ...action, id }));
    return new Promise((resolve, reject) => this.asked.set(id, { resolve, reject }));
  }
}
