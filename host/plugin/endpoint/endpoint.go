// SPDX-License-Identifier: Apache-2.0

// Package endpoint opens what a pipeline file grants a plugin: addresses to dial and to listen on.
//
// It knows nothing of guests. [Dial] makes a [plugin.Dialer], [Listen] what a [plugin.Listener] stands for, and a component
// keeps both as long as it is configured, over any number of instances.
//
// Invariants:
//   - What is checked is what is dialled: the address that a name resolved to is looked at between the look-up and the connect, of
//     each connection, whatever the resolver answered a moment ago. Nothing is read from the environment, also no proxy.
//   - A name reaches loopback, link-local and metadata addresses only where the pipeline file names them as such (see [address.Address.Reaches]).
//   - A listener is never exhausted by those who say nothing: connections are bounded, also those of one peer, and the one that was
//     quiet longest goes first.
//   - Whoever is accepted is either handed on or closed. Close waits for every goroutine.
package endpoint
