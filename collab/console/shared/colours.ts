/** What people are told apart by. Dark enough for white letters on them. */
export const COLOURS = ['#b0431e', '#8f5f00', '#4b730f', '#0f6f5f', '#0a6391', '#4a48c9', '#8532c2', '#b3195f']
