// What the part of the address behind # says: `#/view/id?query`.

export function readPlace(hash) {
  const text = hash.replace(/^#\/?/, "");
  const [path, query = ""] = splitOnce(text, "?");
  const [view, id] = splitOnce(path, "/");
  return { view: view || "overview", id: decoded(id), query: new URLSearchParams(query) };
}

function splitOnce(text, at) {
  const index = text.indexOf(at);
  return index < 0 ? [text, undefined] : [text.slice(0, index), text.slice(index + 1)];
}

function decoded(id) {
  if (!id) return null;
  try {
    return decodeURIComponent(id);
  } catch {
    return id;
  }
}
