// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"

	"github.com/penstock-io/penstock/host/config"
)

// TestAllSinksOfARouteShareIt: what one of them has asked of an event, the others know.
func TestAllSinksOfARouteShareIt(t *testing.T) {
	c := &config.Config{Routes: []config.Route{{Name: "by_level", From: "main", Cases: []config.Case{{Name: "loud"}, {Name: "rest", Default: true}}}}}
	r := &revision{Setup: Setup{Config: c}, routes: routesOf(c)}
	loud := r.filter(config.Feed{From: "main", Route: "by_level", Case: "loud"})
	rest := r.filter(config.Feed{From: "main", Route: "by_level", Case: "rest"})
	all := r.filter(config.Feed{From: "main"})
	if loud.Route == nil || loud.Route != rest.Route || loud.Case != 0 || rest.Case != 1 || all.Route != nil || all.Where != nil {
		t.Errorf("%+v, %+v, %+v", loud, rest, all)
	}
}
