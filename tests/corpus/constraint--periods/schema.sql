-- from: 18
CREATE EXTENSION btree_gist;
CREATE TABLE rooms (id int, during daterange, note text, CONSTRAINT rooms_pk PRIMARY KEY (id, during WITHOUT OVERLAPS),
    CONSTRAINT rooms_u UNIQUE (note, during WITHOUT OVERLAPS));
CREATE TABLE bookings (room int, during daterange, CONSTRAINT room_exists FOREIGN KEY (room, PERIOD during) REFERENCES rooms (id, PERIOD during));
INSERT INTO rooms VALUES (1, '[2024-01-01,2025-01-01)', 'a');
INSERT INTO bookings VALUES (1, '[2024-02-01,2024-03-01)');
