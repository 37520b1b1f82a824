package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/conf"

	"leat.dev/leat/tools/node"
)

// errSetting is returned for a setting of a configuration file that can't be
// taken.
var errSetting = errors.New("bad setting")

// config reads a configuration file in the format of nats-server. What the file
// says becomes the node's options; a flag that is given has the last word.
//
// A file of nats-server's is to work as it is, but never to mean less than it
// says: what would protect the node, and is not there, refuses the start; what
// is only not served is told and passed over.
type config struct {
	options *node.Options
	log     *logSettings
	host    string
	port    string
	// passedOver are settings that have no effect.
	passedOver []string
}

// setting takes the value of one key.
type setting func(value any) error

// readConfig applies a file to o and log, and returns which settings have no
// effect.
func readConfig(name string, o *node.Options, log *logSettings) (passedOver []string, err error) {
	settings, err := conf.ParseFileWithChecks(name)
	if err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", name, err)
	}
	c := &config{options: o, log: log}
	if err := c.block("", settings, c.server()); err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", name, err)
	}
	c.address()
	return c.passedOver, nil
}

// block takes the settings of one block, in the order of their names.
func (c *config) block(prefix string, settings map[string]any, known map[string]setting) error {
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		where, value, variable := plain(settings[key])
		take, ok := known[strings.ToLower(key)]
		name := prefix + key
		switch {
		case !ok && variable:
			continue // NAME = value, for $NAME elsewhere
		case !ok:
			return fmt.Errorf("%w: %s%s: leat knows no such setting", errSetting, where, name)
		case take == nil:
			c.passedOver = append(c.passedOver, name)
			continue
		}
		if err := take(value); err != nil {
			return fmt.Errorf("%w: %s%s: %w", errSetting, where, name, err)
		}
	}
	return nil
}

// plain takes the parser's token off a value, and says in which line it was and
// whether another value refers to it.
func plain(v any) (where string, value any, variable bool) {
	if t, ok := v.(interface {
		Value() any
		Line() int
		IsUsedVariable() bool
	}); ok {
		return fmt.Sprintf("line %d: ", t.Line()), t.Value(), t.IsUsedVariable()
	}
	return "", v, false
}

// server are nats-server's settings outside of any block. nil is passed over.
func (c *config) server() map[string]setting {
	n := &c.options.NATS
	known := map[string]setting{
		"listen": c.listen, "host": text(&c.host), "net": text(&c.host), "addr": text(&c.host), "port": number(&c.port),
		"http": c.http, "monitor": c.http, "http_port": c.httpPort, "monitor_port": c.httpPort,
		"server_name": text(&n.ServerName),
		"max_payload": bytesOf(&n.PayloadBytesMax), "max_control_line": bytesOf(&n.ControlLineBytesMax),
		"max_pending": bytesOf(&n.PendingBytesMax), "max_connections": count(&n.ConnectionsMax), "max_conn": count(&n.ConnectionsMax),
		"max_subscriptions": count(&n.SubscriptionsMax), "max_subs": count(&n.SubscriptionsMax),
		"ping_interval": duration(&n.PingInterval), "ping_max": count(&n.PingsOutMax), "write_deadline": duration(&n.WriteDeadline),
		"authorization": c.nested("authorization.", map[string]setting{
			"user": text(&n.Username), "username": text(&n.Username), "pass": text(&n.Password), "password": text(&n.Password),
			"token": text(&n.Token), "timeout": duration(&n.AuthTimeout),
		}),
		"debug": c.debug, "trace": c.debug,
		"streaming": c.nested("streaming.", c.streaming()), "leat": c.nested("leat.", c.leat()),
	}
	for _, name := range []string{
		"cluster", "gateway", "leafnodes", "leafnode", "leaf", "websocket", "mqtt", "jetstream", "server_tags", "lame_duck_duration",
		"lame_duck_grace_period", "logtime", "logfile", "log_file", "log_size_limit", "pidfile", "pid_file", "ports_file_dir", "prof_port",
		"system_account", "disable_sublist_cache", "https", "https_port",
	} {
		known[name] = nil
	}
	for _, name := range []string{"tls", "accounts", "no_auth_user", "operator", "operators", "resolver", "resolver_preload", "trusted", "trusted_keys"} {
		known[name] = func(any) error {
			return errors.New("it says who may come in, and leat serve does not have it: take it out if everyone who reaches the address may")
		}
	}
	return known
}

// streaming are settings of nats-streaming-server's block.
func (c *config) streaming() map[string]setting {
	o := c.options
	known := map[string]setting{
		"id": text(&o.ClusterID), "cid": text(&o.ClusterID), "cluster_id": text(&o.ClusterID),
		"discover_prefix": text(&o.STAN.DiscoverPrefix),
		"hb_interval":     duration(&o.STAN.HeartbeatInterval), "client_hb_interval": duration(&o.STAN.HeartbeatInterval),
		"hb_timeout": duration(&o.STAN.HeartbeatTimeout), "client_hb_timeout": duration(&o.STAN.HeartbeatTimeout),
		"hb_fail_count": count(&o.STAN.HeartbeatFailMax), "client_hb_fail_count": count(&o.STAN.HeartbeatFailMax),
		"replace_durable": yes(&o.STAN.ReplaceDurable), "sd": c.debug, "stan_debug": c.debug, "sv": c.debug, "stan_trace": c.debug,
		"store_limits": c.limits, "limits": c.limits, "storelimits": c.limits,
	}
	for _, name := range []string{
		"dir", "datastore", // that server's files are no data directory
		"store", "store_type", "file", "file_options", "sql", "sql_options", "cluster", "ft_group", "ft_group_name", "partitioning", "syslog_name", "encrypt", "nats_server_url",
	} {
		known[name] = nil
	}
	return known
}

// limits is the streaming server's block store_limits.
func (c *config) limits(v any) error {
	known := map[string]setting{"max_channels": channels(&c.options.STAN.ChannelsMax), "mc": channels(&c.options.STAN.ChannelsMax)}
	for _, name := range []string{"max_msgs", "mm", "max_bytes", "mb", "max_age", "ma", "max_inactivity", "max_subs", "channels", "channels_limits"} {
		known[name] = nil
	}
	return c.nested("streaming.store_limits.", known)(v)
}

// leat are settings that no other server has.
func (c *config) leat() map[string]setting {
	o := c.options
	return map[string]setting{
		"data": text(&o.Dir), "cluster_id": text(&o.ClusterID), "node_id": text(&o.NodeID), "partitions": count(&o.Partitions),
		"segment_mib":   func(v any) error { return segmentSize(&o.SegmentBytes, v) },
		"stan_channels": channels(&o.STAN.ChannelsMax), "log_level": text(&c.log.level), "log_format": text(&c.log.format),
	}
}

func (c *config) nested(prefix string, known map[string]setting) setting {
	return func(v any) error {
		settings, ok := v.(map[string]any)
		if !ok {
			return errors.New("want a block in braces")
		}
		return c.block(prefix, settings, known)
	}
}

// listen takes "host:port", or a port by itself.
func (c *config) listen(v any) error {
	host, port, err := hostPort(v)
	if err == nil {
		c.host, c.port = host, port
	}
	return err
}

func (c *config) http(v any) error {
	host, port, err := hostPort(v)
	if err == nil {
		c.options.HTTP = net.JoinHostPort(host, port)
	}
	return err
}

func (c *config) httpPort(v any) error {
	port := ""
	if err := number(&port)(v); err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(c.options.HTTP) // the default's, or what http says
	c.options.HTTP = net.JoinHostPort(host, port)
	return nil
}

// address puts together what may have been given apart. As with nats-server, a
// port by itself is open to every host.
func (c *config) address() {
	if c.host == "" && c.port == "" {
		return
	}
	if c.port == "" || c.port == "0" {
		c.port = "4222"
	}
	c.options.Listen = net.JoinHostPort(c.host, c.port)
}

func hostPort(v any) (host, port string, err error) {
	switch v := v.(type) {
	case int64:
		return "", strconv.FormatInt(v, 10), nil
	case string:
		host, port, err = net.SplitHostPort(v)
	default:
		err = fmt.Errorf("%v: want host:port", v)
	}
	return host, port, err
}

func (c *config) debug(v any) error {
	on := false
	if err := yes(&on)(v); err != nil {
		return err
	}
	if on {
		c.log.level = slog.LevelDebug.String()
	}
	return nil
}

func text(to *string) setting {
	return func(v any) error {
		switch v := v.(type) {
		case string:
			*to = v
		case int64: // a token of digits, a name that is a number
			*to = strconv.FormatInt(v, 10)
		default:
			return fmt.Errorf("%v: want text", v)
		}
		return nil
	}
}

// number takes a port, and keeps it as text.
func number(to *string) setting {
	return func(v any) error {
		n, ok := v.(int64)
		if !ok || n < 0 || n > 65535 {
			return fmt.Errorf("%v: want a port", v)
		}
		*to = strconv.FormatInt(n, 10)
		return nil
	}
}

func count(to *int) setting {
	return func(v any) error {
		n, ok := v.(int64)
		if !ok || n < 0 || n > 1<<31-1 {
			return fmt.Errorf("%v: want a number from 0 on", v)
		}
		*to = int(n)
		return nil
	}
}

// bytesOf is count: the parser knows 1MB and the like.
func bytesOf(to *int) setting { return count(to) }

// channels is a limit of which 0 means none, as the streaming server has it.
func channels(to *int) setting {
	return func(v any) error {
		if err := count(to)(v); err != nil {
			return err
		}
		if *to == 0 {
			*to = -1
		}
		return nil
	}
}

func yes(to *bool) setting {
	return func(v any) error {
		on, ok := v.(bool)
		if !ok {
			return fmt.Errorf("%v: want true or false", v)
		}
		*to = on
		return nil
	}
}

// duration takes "2s" or, as nats-server does, a number of seconds.
func duration(to *time.Duration) setting {
	return func(v any) (err error) {
		switch v := v.(type) {
		case int64:
			*to = time.Duration(v) * time.Second
		case float64:
			*to = time.Duration(v * float64(time.Second))
		case string:
			*to, err = time.ParseDuration(v)
		default:
			err = fmt.Errorf("%v: want a duration as 30s", v)
		}
		if err == nil && (*to < 0 || *to > 24*365*time.Hour) {
			err = fmt.Errorf("%v: want a duration from 0 on, of at most a year", v)
		}
		return err
	}
}

// segmentSize checks before it multiplies.
func segmentSize(to *int64, v any) error {
	n, ok := v.(int64)
	if !ok || n < 0 || n > segmentMiBMax {
		return fmt.Errorf("%v: want 1 to %d MiB", v, segmentMiBMax)
	}
	*to = n << 20
	return nil
}
