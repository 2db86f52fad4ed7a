// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/abi"
)

// fate is what an error of a broker says of what it was asked.
type fate int

const (
	later   fate = iota // the same may be taken later. So is what is not known
	wrong               // nothing is taken as things are configured, here or there
	ofEvent             // it is about what is in one of the events
)

type verdict struct {
	fate fate
	path string // the argument that it is about
	hint string
}

// verdicts are those of errors that are not later, or of which more can be said.
var verdicts = map[*kerr.Error]verdict{
	kerr.UnknownTopicOrPartition:            {wrong, "topic", "create the topic, or see its name: nothing is created by itself"},
	kerr.UnknownTopicID:                     {later, "", "the topic was deleted, and perhaps made anew; it is tried again"},
	kerr.InvalidTopicException:              {wrong, "topic", "see the name of the topic"},
	kerr.TopicAuthorizationFailed:           {wrong, "topic", "grant the user what it needs on the topic: see the list in the plugin's README"},
	kerr.GroupAuthorizationFailed:           {wrong, "group", "grant the user READ on the group, or leave group out"},
	kerr.ClusterAuthorizationFailed:         {wrong, "user", "grant the user IDEMPOTENT_WRITE on the cluster (only brokers before 2.8 ask for it), or CREATE, where create = true"},
	kerr.TransactionalIDAuthorizationFailed: {wrong, "transactional_id", "grant the user WRITE and DESCRIBE on transactional ids with that prefix"},
	kerr.SaslAuthenticationFailed:           {wrong, "password", "see user, password and sasl, and whether the brokers know the user"},
	kerr.UnsupportedSaslMechanism:           {wrong, "sasl", "the brokers take another mechanism: see sasl"},
	kerr.IllegalSaslState:                   {wrong, "sasl", "the brokers want no login at that port, or another: see sasl and brokers"},
	kerr.UnsupportedVersion:                 {wrong, "brokers", "the brokers are too old: from 2.1 on they will do"},
	kerr.InvalidTransactionTimeout:          {wrong, "timeout", "lower timeout, or raise transaction.max.timeout.ms of the brokers"},
	kerr.InvalidRequiredAcks:                {wrong, "", "see the brokers' settings"},
	kerr.PolicyViolation:                    {wrong, "topic", "the brokers have a policy against it"},
	kerr.InvalidReplicationFactor:           {wrong, "create", "there are fewer brokers than default.replication.factor: create the topic yourself"},
	kerr.MessageTooLarge:                    {ofEvent, "", ""},
	kerr.RecordListTooLarge:                 {ofEvent, "", ""},
	kerr.InvalidRecord:                      {ofEvent, "", ""},
	kerr.InvalidTimestamp:                   {ofEvent, "", ""},
	kerr.NotEnoughReplicas:                  {later, "", "fewer replicas are in sync than min.insync.replicas of the topic; it is tried again"},
	kerr.NotEnoughReplicasAfterAppend:       {later, "", "fewer replicas are in sync than min.insync.replicas of the topic; it is tried again"},
	kerr.ThrottlingQuotaExceeded:            {later, "", "a quota of the brokers is used up; it is tried again"},
	kerr.ProducerFenced:                     {later, "", "somebody else writes under the same transactional id, or the transaction took too long: see whether another agent runs with a copy of this one's data; it is tried again"},
	kerr.InvalidProducerEpoch:               {later, "", "somebody else writes under the same transactional id, or the transaction took too long: see whether another agent runs with a copy of this one's data; it is tried again"},
	kerr.ConcurrentTransactions:             {later, "", "the transaction before it is still being ended; it is tried again"},
	kerr.KafkaStorageError:                  {later, "", "a broker's disk has failed; it is tried again"},
}

// judge answers what becomes of what was asked.
func judge(err error) (verdict, bool) {
	if k, ok := errors.AsType[*kerr.Error](err); ok {
		return verdicts[k], true
	}
	return verdict{}, false
}

// explain gives an error of the client its code and says what to do. nil stays nil.
func (k cluster) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*sdk.Error](err); ok {
		return e
	}
	if v, ok := judge(err); ok {
		text := fmt.Errorf("%s: the broker says: %w", doing, said(err))
		if v.hint != "" {
			text = fmt.Errorf("%w\n%s", text, v.hint)
		}
		code := abi.EAGAIN
		if v.fate == wrong {
			code = abi.EINVAL
		}
		return &sdk.Error{Code: code, Path: v.path, Err: text}
	}
	return k.explainTransport(doing, err)
}

// said is the broker's own error, without what the client writes around it.
func said(err error) error {
	if k, ok := errors.AsType[*kerr.Error](err); ok {
		return k
	}
	return err
}

// explainTransport is explain of what no broker has answered.
func (k cluster) explainTransport(doing string, err error) error {
	cause := k.dials.problem()
	if cause == nil {
		cause = err
	}
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](cause); ok {
		return tlsError("%s: %w\nthe broker's certificate is signed by nobody that this machine knows: name the signer's in tls_ca", doing, unknown)
	}
	if verify, ok := errors.AsType[*tls.CertificateVerificationError](cause); ok {
		return tlsError("%s: %w\nthe broker's certificate is not for the name that it is reached by, or not valid now: see brokers, and the certificate", doing, verify)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](cause); ok || strings.Contains(cause.Error(), "first record does not look like a TLS handshake") {
		return tlsError("%s: a broker of %s takes no TLS at that port\nname the other port, or write tls = \"off\" where the network between may be trusted", doing, k.brokers)
	}
	if v, ok := judge(cause); ok && v.fate == wrong {
		return &sdk.Error{Code: abi.EINVAL, Path: v.path, Err: fmt.Errorf("%s: the broker says: %w\n%s", doing, said(cause), v.hint)}
	}
	if errors.Is(err, context.DeadlineExceeded) && k.dials.problem() == nil {
		return &sdk.Error{Code: abi.ETIMEOUT, Err: fmt.Errorf("%s: the brokers took longer than %v\nsee what they do, or raise timeout; it is tried again", doing, k.timeout)}
	}
	if errors.Is(cause, io.EOF) {
		return &sdk.Error{Code: abi.EIO, Err: fmt.Errorf("%s: a broker of %s hangs up\nsee whether it wants TLS at that port (tls), and another login (sasl, user, password); it is tried again", doing, k.brokers)}
	}
	return &sdk.Error{Code: abi.EIO, Err: fmt.Errorf("%s: %w\nsee whether the brokers (%s) run, and whether those that they tell of can be reached from here (advertised.listeners); it is tried again", doing, cause, k.brokers)}
}

// tlsError is of class config: what would have to change is a certificate or the config.
func tlsError(format string, args ...any) error {
	return &sdk.Error{Code: abi.EINVAL, Path: "tls", Err: fmt.Errorf(format, args...)}
}
