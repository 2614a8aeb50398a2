// Asking why: whoever changes an archive says so.

/** Ask for a reason; resolves to it, or to undefined if nothing is to be done. */
export function askWhy(question, act) {
  const dialog = document.createElement("dialog");
  dialog.className = "why";
  dialog.innerHTML = `<form method="dialog"><h2></h2><label>Why<textarea name="reason" rows="3" maxlength="1000" required></textarea></label>
    <menu><button value="" formnovalidate>Cancel</button><button class="act" value="do"></button></menu></form>`;
  dialog.querySelector("h2").textContent = question;
  dialog.querySelector(".act").textContent = act;
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const reason = dialog.querySelector("textarea").value.trim();
      dialog.remove();
      resolve(dialog.returnValue === "do" && reason ? reason : undefined);
    });
  });
}
