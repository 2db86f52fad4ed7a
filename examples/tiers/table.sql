-- The events, by their origin: whichever way one comes, and however often, it is there once.
CREATE TABLE events (
  stream text        NOT NULL, -- which edge, which of its sources, and which run of that
  number bigint      NOT NULL, -- which event of those
  at     timestamptz NOT NULL,
  line   text        NOT NULL,
  PRIMARY KEY (stream, number)
);

-- What each collector has delivered, so that it need not be compared row by row.
CREATE TABLE penstock_ranges (
  stream text NOT NULL, incarnation text NOT NULL, first bigint NOT NULL, next bigint NOT NULL CHECK (next > first),
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (stream, incarnation, first),
  EXCLUDE USING gist (
    int8range(hashtextextended(stream || '/' || incarnation, 0), hashtextextended(stream || '/' || incarnation, 0), '[]') WITH &&,
    int8range(first, next) WITH &&)
);
