// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/penstock-io/penstock/plugins/kafka/kafkatest"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/abi"
)

// cases hold with fake brokers and with a real one.
var cases = map[string]func(t *testing.T, newFake maker){
	"what an event of a record is like":                           whatAnEventOfARecordIsLike,
	"a source goes on where its cursor says":                      aSourceGoesOnWhereItsCursorSays,
	"where a source starts":                                       whereASourceStarts,
	"partitions that come later are read from their beginning":    partitionsThatComeLaterAreReadFromTheirBeginning,
	"what is not committed is not read":                           whatIsNotCommittedIsNotRead,
	"records that were deleted before they were read":             recordsThatWereDeletedBeforeTheyWereRead,
	"a topic that is made anew":                                   aTopicThatIsMadeAnew,
	"a topic that is deleted":                                     aTopicThatIsDeleted,
	"a group is told how far the source is":                       aGroupIsToldHowFarTheSourceIs,
	"a delivery that comes again is there once":                   aDeliveryThatComesAgainIsThereOnce,
	"what a killed sink has left open is taken back":              whatAKilledSinkHasLeftOpenIsTakenBack,
	"connections wait for each other":                             connectionsWaitForEachOther,
	"a connection that waits for too long is asked again":         aConnectionThatWaitsForTooLongIsAskedAgain,
	"a claim that another number of connections has left is seen": aClaimThatAnotherNumberOfConnectionsHasLeftIsSeen,
	"one that is fenced opens again":                              oneThatIsFencedOpensAgain,
	"a delivery with a reject is not applied":                     aDeliveryWithARejectIsNotApplied,
	"the state topic":                                             theStateTopic,
	"what a record of an event is like":                           whatARecordOfAnEventIsLike,
	"tombstones":                                                  tombstones,
	"events that the broker refuses":                              eventsThatTheBrokerRefuses,
	"a topic that is not there":                                   aTopicThatIsNotThere,
}

func TestWithFakeBrokers(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		t.Run(name, func(t *testing.T) { cases[name](t, newFake) })
	}
}

func TestWithARealBroker(t *testing.T) {
	if testing.Short() {
		t.Skip("a broker takes a minute for all of it")
	}
	b := kafkatest.Start(t)
	anew := func(t testing.TB, _ ...kfake.Opt) *fake {
		t.Helper()
		f := &fake{t: t, addresses: []string{b.Address}}
		for _, topic := range []string{"in", "out", "small", "penstock_ranges"} {
			if err := f.deleteTopic(topic); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
				t.Fatal(err)
			}
		}
		for _, topic := range []string{"in", "out"} {
			if err := f.createTopic(topic, 1, nil); err != nil {
				t.Fatal(err)
			}
		}
		return f
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		t.Run(name, func(t *testing.T) { cases[name](t, anew) })
	}
	t.Run("logins", func(t *testing.T) {
		for password, code := range map[string]abi.Code{kafkatest.Password: 0, "wrong": abi.EINVAL} {
			s := sdktest.NewSink(t, NewPlainSink)
			s.Configure(map[string]any{"brokers": []string{b.Login}, "tls": "off", "sasl": "scram-sha-512", "user": kafkatest.User, "password": password, "topic": "out", "timeout": 10 * time.Second})
			if err := s.Restart(); code == 0 && err != nil {
				t.Error(err)
			} else if code != 0 {
				expect(t, err, code, "SASL_AUTHENTICATION_FAILED", "password")
			}
			_ = s.Close()
		}
	})
}
