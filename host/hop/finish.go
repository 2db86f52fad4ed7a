// SPDX-License-Identifier: Apache-2.0

package hop

import "fmt"

// errOver is what a sender is told that goes on with a stream which it has finished.
var errOver = fmt.Errorf("%w: nothing follows a Finish", ErrProtocol)

// Finish ends a stream of which everything is answered: the receiver holds nothing when that is on its way to disk. kept: there is something to remove;
// else there never was, or a Finish before this one has removed it.
func (u *Upstream) Finish() (kept bool, err error) {
	switch {
	case u.over:
		return false, errOver
	case len(u.answers) > 0 || !u.Quiet():
		return false, fmt.Errorf("%w: a stream is finished of which %d messages are not answered", ErrProtocol, len(u.answers))
	}
	kept, u.over, u.at = !u.have.Empty(), true, Holding{}
	u.answers = append(u.answers, answer{end: true})
	return kept, nil
}
