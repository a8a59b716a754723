// The courier in JavaScript: the `fetch` of the web, and nothing else.

export function get(url) {
  return exchange(url);
}

export function post(url, text) {
  return exchange(url, { method: "POST", body: text });
}

async function exchange(url, options) {
  try {
    const response = await fetch(url, options);
    return `${response.status}\n${await response.text()}`;
  } catch (error) {
    // What a thrown error has as `payload` becomes the error of the WIT function.
    throw Object.assign(new Error(error.message), { payload: `${error.name}: ${error.message}` });
  }
}
