// The colours that were chosen, before anything is drawn. "auto" is the system's.
{
  let theme = null;
  try {
    theme = JSON.parse(localStorage.getItem("tcrt.theme"));
  } catch {
    // What is kept there is not ours; the system's colours will do.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}
