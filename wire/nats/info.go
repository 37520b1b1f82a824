package nats

import (
	"crypto/rand"
	"encoding/json"
	"net"
	"runtime"
	"strconv"
)

// info is what INFO tells a client. The order of the fields is nats-server's.
type info struct {
	ServerID      string `json:"server_id"`
	ServerName    string `json:"server_name"`
	Version       string `json:"version"`
	Proto         int    `json:"proto"`
	GitCommit     string `json:"git_commit,omitempty"`
	Go            string `json:"go"`
	Host          string `json:"host"`
	Port          int    `json:"port"`
	Headers       bool   `json:"headers"`
	AuthRequired  bool   `json:"auth_required,omitempty"`
	TLSRequired   bool   `json:"tls_required,omitempty"`
	MaxPayload    int    `json:"max_payload"`
	ClientID      uint64 `json:"client_id,omitempty"`
	ClientIP      string `json:"client_ip,omitempty"`
	ConnectInfo   bool   `json:"connect_info,omitempty"`
	RemoteAccount string `json:"remote_account,omitempty"`
}

// info returns the INFO line for a client. afterConnect makes it the one that
// follows the first PONG.
func (c *conn) info(afterConnect bool) []byte {
	s := c.server
	i := info{
		ServerID:     s.opts.ServerID,
		ServerName:   s.opts.ServerName,
		Version:      s.opts.Version,
		Proto:        1,
		GitCommit:    s.opts.GitCommit,
		Go:           runtime.Version(),
		Host:         s.host,
		Port:         s.port,
		Headers:      true,
		AuthRequired: s.opts.authRequired(),
		TLSRequired:  s.opts.TLSConfig != nil,
		MaxPayload:   s.opts.PayloadBytesMax,
		ClientID:     c.id,
		ClientIP:     hostOf(c.remote),
	}
	if afterConnect {
		// The one account of this server, by the name that it has elsewhere.
		i.ConnectInfo, i.RemoteAccount = true, "$G"
	}
	text, err := json.Marshal(i)
	if err != nil {
		panic("nats: marshal INFO: " + err.Error()) // strings and numbers only
	}
	line := append(make([]byte, 0, len(text)+8), "INFO "...)
	return append(append(line, text...), " \r\n"...)
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	return host
}

func splitAddr(addr string) (host string, port int) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0
	}
	port, err = strconv.Atoi(text)
	if err != nil {
		return host, 0
	}
	return host, port
}

// newServerID returns a random id that looks like nats-server's, which is a
// public key: N and 55 letters and digits.
func newServerID() string { return ("N" + rand.Text() + rand.Text() + rand.Text())[:56] }
