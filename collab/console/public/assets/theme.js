// Runs before anything is painted, so that a chosen theme does not flash.
try {
  const theme = localStorage.getItem('collab-theme')
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
} catch {
  // no storage: the system's theme it is
}
