// SPDX-License-Identifier: Apache-2.0

// Package textfile makes events of the text of files, for the sources that read them: [Splitter] finds where an event ends, and
// [Taker] appends it to a batch with its place in the file.
//
// What is found depends on the text and on where one begins, never on how the text was cut into pieces to be read: so a reader
// that goes on from a [Place] finds the same events as one that was never stopped.
package textfile
