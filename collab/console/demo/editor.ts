import { Editor } from '@tiptap/core'
import { Collaboration } from '@tiptap/extension-collaboration'
import { CollaborationCaret } from '@tiptap/extension-collaboration-caret'
import { TaskItem, TaskList } from '@tiptap/extension-list'
import { Placeholder } from '@tiptap/extensions'
import { StarterKit } from '@tiptap/starter-kit'
import { yUndoPluginKey } from '@tiptap/y-tiptap'
import type { Awareness } from 'y-protocols/awareness'
import type { Doc } from 'yjs'
import { nameOf, type User } from './people'

/** The editor of a document, with its carets. */
export function createEditor (element: HTMLElement, doc: Doc, awareness: Awareness, user: User): Editor {
  return new Editor({
    element,
    injectCSS: false, // the page's own style sheet has it; the Content-Security-Policy takes no other
    extensions: [
      // Collaboration has its own undo. A trailing paragraph would be added by every window that opens the document.
      StarterKit.configure({ undoRedo: false, trailingNode: false, link: { openOnClick: false, defaultProtocol: 'https' } }),
      TaskList,
      TaskItem.configure({ nested: true }),
      Placeholder.configure({ placeholder: 'Write something. Whoever opens this room sees it as you type.' }),
      Collaboration.configure({ document: doc }),
      CollaborationCaret.configure({ provider: { awareness }, user: { ...user, id: doc.clientID }, render: drawCaret })
    ],
    editorProps: {
      attributes: { role: 'textbox', 'aria-multiline': 'true', 'aria-label': 'Text' }
    }
  })
}

function drawCaret (user: Record<string, unknown>): HTMLElement {
  const caret = document.createElement('span')
  caret.className = 'caret'
  caret.dataset.client = String(user.id)
  caret.append(document.createElement('span'))
  dress(caret, user)
  return caret
}

function dress (caret: HTMLElement, user: Record<string, unknown>): void {
  caret.style.setProperty('--who', String(user.color))
  caret.firstElementChild!.textContent = nameOf(user)
}

/** Carets are drawn once and then moved: a new name or colour has to be put on those that are there. */
export function renameCarets (element: HTMLElement, awareness: Awareness): void {
  for (const [client, { user }] of awareness.getStates()) {
    const caret = element.querySelector<HTMLElement>(`.caret[data-client="${client}"]`)
    if (caret !== null && user && CSS.supports('color', String(user.color))) dress(caret, user)
  }
}

/** Forget what could be undone: after a restore it would bring things back twice. */
export function clearHistory (editor: Editor): void {
  yUndoPluginKey.getState(editor.state)?.undoManager.clear()
}
