import type { Editor } from '@tiptap/core'
import { icon, type IconName } from '../shared/icons'

interface Tool {
  icon: IconName
  label: string
  /** As ProseMirror writes it; Mod is Ctrl, or Cmd on a Mac. */
  keys?: string
  active?: (editor: Editor) => boolean
  enabled?: (editor: Editor) => boolean
  run: (editor: Editor) => unknown
}

const MAC = /Mac|iPhone|iPad/.test(navigator.platform)

const spelled = (keys: string): string =>
  keys.replace('Mod', MAC ? '⌘' : 'Ctrl').replace('Shift', MAC ? '⇧' : 'Shift').replace('Alt', MAC ? '⌥' : 'Alt').replaceAll('-', MAC ? '' : '+')

const tools = (editLink: () => void): (Tool | null)[] => [
  { icon: 'undo', label: 'Undo', keys: 'Mod-Z', enabled: (e) => e.can().undo(), run: (e) => e.chain().focus().undo().run() },
  { icon: 'redo', label: 'Redo', keys: 'Mod-Shift-Z', enabled: (e) => e.can().redo(), run: (e) => e.chain().focus().redo().run() },
  null,
  { icon: 'h1', label: 'Title', keys: 'Mod-Alt-1', active: (e) => e.isActive('heading', { level: 1 }), run: (e) => e.chain().focus().toggleHeading({ level: 1 }).run() },
  { icon: 'h2', label: 'Heading', keys: 'Mod-Alt-2', active: (e) => e.isActive('heading', { level: 2 }), run: (e) => e.chain().focus().toggleHeading({ level: 2 }).run() },
  null,
  { icon: 'bold', label: 'Bold', keys: 'Mod-B', active: (e) => e.isActive('bold'), run: (e) => e.chain().focus().toggleBold().run() },
  { icon: 'italic', label: 'Italic', keys: 'Mod-I', active: (e) => e.isActive('italic'), run: (e) => e.chain().focus().toggleItalic().run() },
  { icon: 'underline', label: 'Underline', keys: 'Mod-U', active: (e) => e.isActive('underline'), run: (e) => e.chain().focus().toggleUnderline().run() },
  { icon: 'strike', label: 'Strike through', keys: 'Mod-Shift-S', active: (e) => e.isActive('strike'), run: (e) => e.chain().focus().toggleStrike().run() },
  { icon: 'code', label: 'Code', keys: 'Mod-E', active: (e) => e.isActive('code'), run: (e) => e.chain().focus().toggleCode().run() },
  { icon: 'link', label: 'Link', active: (e) => e.isActive('link'), run: editLink },
  null,
  { icon: 'bullets', label: 'List', keys: 'Mod-Shift-8', active: (e) => e.isActive('bulletList'), run: (e) => e.chain().focus().toggleBulletList().run() },
  { icon: 'numbers', label: 'Numbered list', keys: 'Mod-Shift-7', active: (e) => e.isActive('orderedList'), run: (e) => e.chain().focus().toggleOrderedList().run() },
  { icon: 'tasks', label: 'Tasks', keys: 'Mod-Shift-9', active: (e) => e.isActive('taskList'), run: (e) => e.chain().focus().toggleTaskList().run() },
  null,
  { icon: 'quote', label: 'Quote', keys: 'Mod-Shift-B', active: (e) => e.isActive('blockquote'), run: (e) => e.chain().focus().toggleBlockquote().run() },
  { icon: 'block', label: 'Code block', keys: 'Mod-Alt-C', active: (e) => e.isActive('codeBlock'), run: (e) => e.chain().focus().toggleCodeBlock().run() },
  { icon: 'rule', label: 'Divider', run: (e) => e.chain().focus().setHorizontalRule().run() }
]

/** The toolbar: one stop for the Tab key, arrow keys inside. Returns what draws its state for the current editor. */
export function createToolbar (bar: HTMLElement, editor: () => Editor, editLink: () => void): () => void {
  const buttons: [HTMLButtonElement, Tool][] = []
  for (const tool of tools(editLink)) {
    if (tool === null) {
      bar.append(document.createElement('hr'))
      continue
    }
    const button = document.createElement('button')
    button.type = 'button'
    button.className = 'icon'
    button.tabIndex = buttons.length === 0 ? 0 : -1
    button.ariaLabel = tool.label
    button.title = tool.keys === undefined ? tool.label : `${tool.label} (${spelled(tool.keys)})`
    button.append(icon(tool.icon))
    button.addEventListener('mousedown', (event) => event.preventDefault()) // the selection stays in the text
    button.addEventListener('click', () => { if (button.ariaDisabled !== 'true') tool.run(editor()) })
    bar.append(button)
    buttons.push([button, tool])
  }

  const stop = (at: number): void => {
    const wanted = (at + buttons.length) % buttons.length
    buttons.forEach(([button], index) => { button.tabIndex = index === wanted ? 0 : -1 })
    buttons[wanted]![0].focus()
  }
  bar.addEventListener('keydown', (event) => {
    const at = buttons.findIndex(([button]) => button === document.activeElement)
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key]
    if (event.key === 'Escape') editor().commands.focus()
    if (next === undefined || at < 0) return
    event.preventDefault()
    stop(next)
  })

  return () => {
    const current = editor()
    for (const [button, tool] of buttons) {
      const pressed = tool.active === undefined ? null : String(tool.active(current))
      if (button.ariaPressed !== pressed) button.ariaPressed = pressed
      const disabled = String(!current.isEditable || tool.enabled?.(current) === false)
      if (button.ariaDisabled !== disabled) button.ariaDisabled = disabled
    }
  }
}
