import { post } from "../api.js";
import { code, h, replace } from "../dom.js";
import { field, input, notice, problem } from "../parts.js";

export const title = "Log in";

export function show(main, { heading, because, entered }) {
  const token = input("token", { type: "password", required: true, autocomplete: "current-password" });
  const said = h("div", {}, because ? notice(because) : null);
  const enter = h("button", { class: "primary" }, "Log in");
  const logIn = async (event) => {
    event.preventDefault();
    enter.disabled = true;
    try {
      const facts = await post("session", { token: token.value.trim() });
      token.value = "";
      entered(facts);
    } catch (error) {
      replace(said, problem(error.status === 429 && error.retryAfter ? later(error) : error));
      token.focus();
      token.select();
    } finally {
      enter.disabled = false;
    }
  };
  heading.textContent = "Log in to the Console";
  replace(main,
    h("div", { class: "login" },
      heading,
      said,
      h("form", { onsubmit: logIn },
        // Password managers want to know whose it is.
        h("input", { type: "text", name: "username", autocomplete: "username", value: "operator", hidden: true }),
        field("Token", token, "One with the scope operate. It is exchanged for a session cookie and not kept in this page."),
        h("div", { class: "actions" }, enter),
      ),
      h("div", { class: "aside" },
        h("p", {}, "No token yet? Where Tidings runs:"),
        code("tidings token issue NAME --scope operate"),
      ),
    ),
  );
  token.focus();
}

const later = (error) => ({ title: error.title, detail: `${error.detail} Try again in ${error.retryAfter} s.` });
