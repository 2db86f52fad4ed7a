// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/penstock-io/penstock/sdk"
)

const (
	// connectTimeout is how long one attempt to connect may take, with TLS and authentication.
	connectTimeout = 10 * time.Second
	// closeTimeout is how long the server may take to be told goodbye.
	closeTimeout = time.Second
)

// sessionSettings end on the server what a client that has vanished left open, so that it is not in the way of the next.
const sessionSettings = "SET idle_in_transaction_session_timeout = '60s'; SET lock_timeout = '10s'; " +
	"SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; " +
	"SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET timezone = 'UTC'; SET bytea_output = 'hex'; SET extra_float_digits = 1"

// serverConfig is what source and sink have in common.
type serverConfig struct {
	Host     string        `json:"host"`
	Port     int           `json:"port"`
	Database string        `json:"database"`
	User     string        `json:"user"`
	Password string        `json:"password"`
	TLS      string        `json:"tls"`
	CA       string        `json:"tls_ca"`
	Cert     string        `json:"tls_cert"`
	Key      string        `json:"tls_key"`
	Timeout  time.Duration `json:"timeout"`
}

// server is where to connect to.
type server struct {
	config  *pgconn.Config
	address string // for messages
	timeout time.Duration
}

// local says whether the server is reached over a unix socket, whose directory Host is then.
func (c *serverConfig) local() bool { return strings.HasPrefix(c.Host, "/") }

// server checks the config. Certificates are read with it: read is false where there is no I/O. Connections are those of the handle "server".
func (c *serverConfig) server(name string, o *sdk.Open, read bool) (server, error) {
	if c.Port == 0 {
		c.Port = 5432
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	host := strings.TrimSuffix(strings.TrimPrefix(c.Host, "["), "]")
	address := net.JoinHostPort(host, strconv.Itoa(c.Port))
	switch {
	case host == "":
		return server{}, sdk.ConfigError("host", "is empty, wanted the name of a machine, or the directory of a unix socket, such as /var/run/postgresql")
	case c.User == "":
		return server{}, sdk.ConfigError("user", "is empty, wanted the role to connect as")
	case c.local():
		address = filepath.Join(host, ".s.PGSQL."+strconv.Itoa(c.Port))
	}
	// What ParseConfig takes from the environment is all replaced: a plugin does what its config says.
	config, err := pgconn.ParseConfig("host=localhost sslmode=disable")
	if err != nil {
		return server{}, sdk.ConfigError("", "prepare the connection: %w", err)
	}
	config.Host, config.Port, config.Database, config.User, config.Password = host, uint16(c.Port), c.Database, c.User, c.Password
	config.ConnectTimeout, config.Fallbacks, config.KerberosSpn, config.ValidateConnect = connectTimeout, nil, "", nil
	clear(config.RuntimeParams)
	maps.Copy(config.RuntimeParams, map[string]string{"application_name": "penstock " + name, "client_encoding": "UTF8"})
	config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil } // the agent's, which looks at what it finds
	config.DialFunc = o.DialContext("server")
	if config.TLSConfig, err = c.tls(host, read); err != nil {
		return server{}, err
	}
	return server{config, address, c.Timeout}, nil
}

func (c *serverConfig) tls(host string, read bool) (*tls.Config, error) {
	t, err := sdk.ClientTLS{Mode: c.TLS, CA: c.CA, Cert: c.Cert, Key: c.Key}.Config(read && !c.local())
	if err != nil || t == nil || c.local() {
		return nil, err // over a unix socket the system says who is at the other end
	}
	t.ServerName = host
	return t, nil
}

// session is one connection. Each of its calls may take the server's timeout.
type session struct {
	*pgconn.PgConn
	timeout time.Duration
	doing   string // what the call is for, which the next error is about
}

// connect opens a session whose settings are made.
func (s server) connect(doing string) (*session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, s.config)
	if err != nil {
		return nil, s.explainConnect(err)
	}
	c := &session{conn, s.timeout, doing}
	if _, err := c.run("prepare the session", sessionSettings); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// run sends statements, in one message, and answers the result of the last.
func (c *session) run(doing, sql string) (*pgconn.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	results, err := c.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, explain(doing, err)
	}
	if len(results) == 0 {
		return &pgconn.Result{}, nil
	}
	return results[len(results)-1], nil
}

// query sends one statement with parameters, as text, and answers its rows, as text; nil is NULL.
func (c *session) query(doing, sql string, parameters ...string) ([][][]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	values := make([][]byte, len(parameters))
	for i, p := range parameters {
		values[i] = []byte(p)
	}
	result := c.ExecParams(ctx, sql, values, nil, nil, nil).Read()
	if result.Err != nil {
		return nil, explain(doing, result.Err)
	}
	return result.Rows, nil
}

// close ends the connection, and with it whatever transaction it has. It may be called again.
func (c *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = c.Close(ctx) // the server ends what has no client; nothing is known to be applied but what it has answered
}

// quoteName writes the name of a thing, as it is: no letter is made small.
func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// quoteText writes a string, whatever standard_conforming_strings says.
func quoteText(s string) string {
	s = strings.ReplaceAll(s, "'", "''")
	if strings.Contains(s, `\`) {
		return ` E'` + strings.ReplaceAll(s, `\`, `\\`) + `'`
	}
	return "'" + s + "'"
}

// relation is a table, by what the config says: NAME or SCHEMA.NAME, each part as it is.
type relation struct{ schema, name string }

func parseRelation(argument, text string) (relation, error) {
	schema, name, ok := strings.Cut(text, ".")
	if !ok {
		schema, name = "", text
	}
	if name == "" || ok && schema == "" || strings.Contains(name, ".") || strings.ContainsRune(text, 0) {
		return relation{}, sdk.ConfigError(argument, `is %q, wanted "TABLE" or "SCHEMA.TABLE"`, text)
	}
	return relation{schema, name}, nil
}

// String is the relation as it stands in a statement.
func (r relation) String() string {
	if r.schema == "" {
		return quoteName(r.name)
	}
	return quoteName(r.schema) + "." + quoteName(r.name)
}

// beside is another relation, in the same schema unless text names one.
func (r relation) beside(argument, text string) (relation, error) {
	other, err := parseRelation(argument, text)
	if err == nil && other.schema == "" {
		other.schema = r.schema
	}
	return other, err
}

func (s server) String() string { return fmt.Sprintf("%s/%s", s.address, s.config.Database) }
