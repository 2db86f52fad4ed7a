// SPDX-License-Identifier: Apache-2.0

// Package tidy keeps the shape of the tree: who may import whom, how long a function and a file may
// be, how wide an interface, what every package says of itself. It is a test only.
package tidy
